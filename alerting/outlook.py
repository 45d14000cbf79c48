"""The past of series whose future is asked for, read without any lock, and what follows from it."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from alerting import ahead
from alerting.evaluator import Evaluator
from alerting.forecast import PAST_S, STEP_S, Foresight, Point, foresee
from alerting.inputs import HostScope, to_ms
from alerting.rule import Measured
from alerting.state import Ahead, AheadKey, Memory
from collector.published import charts

Connection = AsyncConnection[tuple[Any, ...]]
log = logging.getLogger(__name__)


async def foreseen(
    conn: Connection, evaluator: Evaluator, scope: HostScope, memory: Memory, now: datetime
) -> dict[AheadKey, Foresight]:
    """Answers to the questions of a host that are due."""
    found: dict[AheadKey, Foresight] = {}
    for asked in ahead.due(memory, to_ms(now)):
        limit = _limit(evaluator, scope, asked)
        if limit is not None:
            found[asked.key] = foresee(await _past(conn, scope, asked, limit, now), limit)
    return found


def _limit(evaluator: Evaluator, scope: HostScope, asked: Ahead) -> float | None:
    """The limit that the rule in force looks ahead for; None: it does not any more."""
    found = evaluator.rule(scope, asked.rule_id)
    source = found[0].source if found else None
    forecast = dict(source.forecasts).get(asked.term) if isinstance(source, Measured) else None
    return forecast.reaches if forecast else None


async def _past(conn: Connection, scope: HostScope, asked: Ahead, limit: float, now: datetime) -> list[Point]:
    """The series in steps, at most one point each; the worst of each step. Nothing when it has ceased."""
    start = now - timedelta(seconds=PAST_S)
    wanted = dict(asked.attributes)
    found = await charts(
        conn, scope.tenant_id, scope.host_id, {asked.metric}, wanted, start, now, int(PAST_S / STEP_S)
    )
    points = next((chart.points for chart in found if chart.attributes == wanted), [])
    known = [(p.at.timestamp(), p.min, p.max) for p in points if p.min is not None and p.max is not None]
    rising = bool(known) and known[-1][2] < limit
    if not known or now.timestamp() - known[-1][0] > 4 * STEP_S:
        return []
    return [(at, high if rising else low) for at, low, high in known]
