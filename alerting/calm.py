"""The usual case: frames of a host on which nothing is wrong, and of which nothing is remembered. Pure.

``alerting.judge.Judge`` would conclude the same, only dearer. Whatever is unusual - a layout not met before,
a late frame, a gap, a breach, an event - is left to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from alerting.evaluator import Evaluator
from alerting.inputs import EventInput, FrameInput, HostScope, HostState, from_ms, to_ms
from alerting.samples import GAP_INTERVALS
from alerting.state import Memory


def judged(
    evaluator: Evaluator,
    scope: HostScope,
    state: HostState,
    inputs: Sequence[FrameInput | EventInput],
    received_at: datetime,
) -> HostState | None:
    """The state after healthy frames in time order, received together. None: judge them one by one."""
    layouts = dict(state.memory.layouts)
    now = to_ms(received_at)
    judged_to = state.frontier
    newest = 0
    for item in inputs:
        if not isinstance(item, FrameInput):
            return None
        plan = evaluator.plan(scope, item.layout_digest, item.layout)
        known = layouts.get(plan.name)
        at = min(to_ms(item.at), now)
        apart = GAP_INTERVALS * plan.interval_ms
        if known is None or not 0 <= at - known <= apart:
            return None
        if judged_to is not None and item.at < judged_to and at < to_ms(judged_to) - apart:
            return None
        if len(item.values) != plan.width or plan.suspects(item.values):
            return None
        layouts[plan.name] = at
        newest = max(newest, at)
    if not newest:
        return None
    frontier, last_seen = from_ms(newest), received_at
    if state.frontier is not None and state.frontier > frontier:
        frontier = state.frontier
    if state.last_seen is not None and state.last_seen > last_seen:
        last_seen = state.last_seen
    return HostState(
        state.tenant_id,
        state.host_id,
        state.version,
        frontier,
        evaluator.version,
        last_seen,
        Memory(layouts),
    )
