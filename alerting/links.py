"""What hangs on an alert, as links: the ticket that speaks for it, and the series that it was concluded from.

Tickets belong to a later room: whoever composes the process hands in how to look them up. Only views that the
caller was allowed to see are linked; look-ups are bound to the alerts' own tenants.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlencode

from psycopg import AsyncConnection

from alerting.evaluator import Evaluator
from alerting.inputs import HostScope
from alerting.reading import AlertView, TicketLink
from alerting.rule import Measured
from alerting.rulebook import current_evaluator
from storage.sql import Queries

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]
View = TypeVar("View", bound=AlertView)
_AROUND = timedelta(hours=1)
"""The series is shown from so long before the alert began until so long after its end."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whose an alert is."""

    tenant_id: int
    deployment_id: int


Tickets = Callable[[Connection, Sequence[tuple[int, int]]], Awaitable[Mapping[int, TicketLink]]]
"""(tenant id, alert id) ... -> the newest ticket of each, by alert id."""


class Links:
    """Adds links to views; keeps the rules between requests."""

    def __init__(self, tickets: Tickets | None = None) -> None:
        self._tickets = tickets
        self._evaluator: Evaluator | None = None

    async def added(self, conn: Connection, views: Sequence[View]) -> list[View]:
        """The views with their links."""
        given = {"alert_ids": [view.alert_id for view in views]}
        rows = await (await conn.execute(Q.places_of_alerts, given)).fetchall()
        places = {row[0]: Place(row[1], row[2]) for row in rows}
        keys = [(place.tenant_id, alert_id) for alert_id, place in places.items()]
        tickets = await self._tickets(conn, keys) if self._tickets and keys else {}
        self._evaluator = evaluator = await current_evaluator(conn, self._evaluator)
        return [
            replace(
                view,
                ticket=tickets.get(view.alert_id),
                series=_series(evaluator, view, places.get(view.alert_id)),
            )
            for view in views
        ]


def _series(evaluator: Evaluator, view: AlertView, place: Place | None) -> str | None:
    """Where to read what the alert's rule looks at, under the rules in force; None: it looks at no series."""
    if view.host_id is None or place is None:
        return None
    scope = HostScope(
        place.tenant_id, view.tenant, place.deployment_id, view.deployment, view.host_id, view.host or ""
    )
    found = evaluator.rule(scope, view.rule)
    if found is None or not isinstance(found[0].source, Measured):
        return None
    source = found[0].source
    metrics = sorted({selector.metric for _, selector in source.terms})
    values = view.instance.split(", ") if len(source.instance) > 1 else [view.instance]
    named = dict(zip(source.instance, values, strict=False)) if len(values) == len(source.instance) else {}
    query = [("host", str(view.host_id)), *(("metric", metric) for metric in metrics)]
    query.append(("attributes", json.dumps(named, ensure_ascii=False)))
    query.append(("from", f"{view.since - _AROUND:%Y-%m-%dT%H:%M:%SZ}"))
    if view.resolved_at is not None:
        query.append(("to", f"{view.resolved_at + _AROUND:%Y-%m-%dT%H:%M:%SZ}"))
    return f"/v1/series?{urlencode(query)}"
