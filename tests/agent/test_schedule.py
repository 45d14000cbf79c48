"""Ticks stand on a grid, apart from host to host; missed ones are left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.schedule import deadline_s, next_due_s, phase_s

intervals = st.floats(0.5, 3600)
nows = st.floats(0, 1e8)


@given(nows, intervals, st.text(max_size=40))
def test_the_next_tick_is_ahead_and_on_the_grid(now: float, interval: float, host: str) -> None:
    """Between half an interval and one and a half from now, whatever was missed."""
    phase = phase_s(host, interval)
    due = next_due_s(now, interval, phase)
    assert 0.49 * interval <= due - now <= 1.51 * interval
    steps = (due - phase) / interval
    assert abs(steps - round(steps)) < 1e-3


@given(nows, intervals, st.text(max_size=40))
def test_ticks_do_not_drift(now: float, interval: float, host: str) -> None:
    """From a tick that was on time the next is exactly one interval on, a thousand times."""
    phase = phase_s(host, interval)
    first = due = next_due_s(now, interval, phase)
    for _ in range(50):
        due = next_due_s(due, interval, phase)
    assert abs(due - first - 50 * interval) < 1e-3 * interval + 1e-6 * due


def test_many_hosts_spread_over_the_interval() -> None:
    """10,000 agents do not arrive together: no tenth of the interval gets more than 12 % of them."""
    tenths = [0] * 10
    for number in range(10_000):
        tenths[int(phase_s(f"{number:032x}", 15.0) / 1.5)] += 1
    assert max(tenths) < 1200


@given(intervals)
def test_a_deadline_lies_inside_its_interval(interval: float) -> None:
    """So ticks of one group never overlap."""
    assert 0 < deadline_s(interval) < interval
