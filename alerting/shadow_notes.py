"""What a pack on trial would have told: its findings, and whether anybody would have been bothered."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection

from alerting import mutes
from alerting.evaluator import Evaluator
from alerting.inputs import HostScope, Outcome, from_ms
from alerting.mute import reason
from alerting.published import ENDED, State
from alerting.rule import Rule
from alerting.wording import labels_of
from storage.sql import Queries

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]


async def note(conn: Connection, evaluator: Evaluator, outcome: Outcome) -> None:
    """What would have been told, had the pack been in force; consequences of others are no news."""
    scope = outcome.scope
    for alert in outcome.alerts:
        change = alert.change
        at = from_ms(change.at_ms)
        given = key_of(evaluator, scope, alert.rule_id, alert.instance) | {"at": at}
        if change.to_state in ENDED:
            await conn.execute(Q.shadow_ends, given)
        elif change.to_state is State.FIRING and not alert.hidden:
            found = evaluator.rule(scope, alert.rule_id)
            why = await muted(conn, scope, found[0] if found else None, alert.instance, change.priority, at)
            await conn.execute(Q.shadow_fires, given | {"priority": change.priority, "muted": why})


def key_of(evaluator: Evaluator, scope: HostScope, rule_id: str, instance: str = "") -> dict[str, Any]:
    """Names one finding, for queries."""
    place = {"version": evaluator.version, "tenant_id": scope.tenant_id, "host_id": scope.host_id}
    return place | {"rule_id": rule_id, "instance": instance}


async def muted(
    conn: Connection, scope: HostScope, rule: Rule | None, instance: str, priority: int, at: datetime
) -> str | None:
    """The silence or maintenance window that would have covered an alert at a time; None: none."""
    if rule is None:
        return None
    if rule.of_deployment:
        scope = msgspec.structs.replace(scope, host_id=0, host_name="(cluster)")
    labels = labels_of(scope, rule, instance) | {"priority": f"P{priority}"}
    known = await mutes.current(conn, {scope.tenant_id}, at)
    return reason(known.get(scope.tenant_id, ()), labels, at)
