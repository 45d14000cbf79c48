"""Several layouts of one host: of different intervals, and one in place of another."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.evaluate import EventInput, FrameInput
from alerting.inputs import to_ms
from tests.alerting.kit import CPU, START, Host, digest_of, evaluator_of, frame, layout_of, minutes
from tests.alerting.test_judge import ONE

FAST = layout_of("system.cpu.utilization", interval_s=15)
SLOW = layout_of("system.memory.utilization", interval_s=300)
WIDER = layout_of("system.cpu.utilization", "system.memory.utilization")
"""In place of ``CPU``: another column has come."""
QUICK = evaluator_of(ONE.replace("for: 10 min", "for: 2 min").replace("clear_for: 5 min", "clear_for: 2 min"))


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def busy(first: float, count: int) -> list[FrameInput | EventInput]:
    """Frames of the fast layout over the limit, from second ``first`` on."""
    return [frame(FAST, START + seconds(first + 15 * n), 0.97) for n in range(count)]


def test_a_pause_that_the_slow_layout_does_not_mind_makes_no_alert_of_the_fast_one_stale() -> None:
    """Seven minutes without a frame, and the first one after them is the slow layout's: that the fast one's
    series were not there meanwhile means nothing. (Seen failing: the alert ended as stale, and was raised,
    and rung for, again ten minutes later.)"""
    host = Host(evaluator_of(ONE))
    host.feed(frame(SLOW, START, 0.5), *busy(0, 60))
    host.feed(frame(SLOW, START + seconds(1300), 0.5), *busy(1305, 2))
    assert host.story == ["0.25 pending P2", "10 firing P2"]


def test_a_series_that_does_not_come_back_is_stale_though_only_the_slow_layout_is_left() -> None:
    """Not counting the pauses between slow frames must not keep it open for ever."""
    host = Host(evaluator_of(ONE))
    host.feed(frame(SLOW, START, 0.5), *busy(0, 60))
    for number in range(1, 12):
        host.feed(frame(SLOW, START + minutes(15 + 5 * number), 0.5))
    assert host.story[-1].split()[1] == "stale"


@given(st.lists(st.tuples(st.integers(1, 45), st.integers(0, 890)), min_size=1, max_size=8), st.booleans())
@settings(max_examples=100, deadline=None)
def test_what_breaches_in_every_sample_never_ends(
    stretches: list[tuple[int, int]], newest_first: bool
) -> None:
    """Stretches of measuring, pauses of up to 15 minutes between them, in order or the newest first: an alert
    of which every sample is over the limit has no end, whichever layout speaks first."""
    host = Host(evaluator_of(ONE))
    host.feed(frame(SLOW, START, 0.5), *busy(0, 60))
    at, batches = 900.0, []
    for count, pause in stretches:
        at += pause
        fast = busy(at, count)
        slow = [frame(SLOW, START + seconds(s), 0.5) for s in range(int(at), int(at) + 15 * count, 300)]
        batches.append(sorted([*slow, *fast], key=lambda item: item.at))
        at += 15 * count
    for batch in reversed(batches) if newest_first else batches:
        host.feed(*batch, received_at=START + seconds(at))
    assert host.story == ["0.25 pending P2", "10 firing P2"]


def test_the_backlog_of_a_layout_that_is_used_no_more_raises_nothing() -> None:
    """The agent began anew with another layout during an outage. Newest first: it is healthy. That the old
    layout was over the limit ten minutes before is history, as it would be with the same layout. (Seen
    failing: it fired.)"""
    host = Host(QUICK)
    host.feed(*[frame(CPU, START + minutes(n), 0.1) for n in range(3)])
    host.feed(*[frame(WIDER, START + minutes(n), 0.1, 0.1) for n in (28, 29, 30)])
    old = [frame(CPU, START + minutes(n), 0.97) for n in range(20, 26)]
    outcome = host.feed(*old, received_at=START + minutes(30))
    assert host.story == []
    assert outcome.late == tuple(range(6))


def test_the_backlog_of_a_layout_that_is_used_no_more_ends_nothing() -> None:
    """It fires on what the new layout measures now; that all was well before is no end. (Seen failing: it was
    resolved, and fired again.)"""
    host = Host(QUICK)
    host.feed(*[frame(CPU, START + minutes(n), 0.1) for n in range(3)])
    host.feed(*[frame(WIDER, START + minutes(n), 0.97, 0.1) for n in (28, 29, 30, 31)])
    host.feed(*[frame(CPU, START + minutes(n), 0.1) for n in range(20, 28)], received_at=START + minutes(31))
    host.feed(*[frame(WIDER, START + minutes(n), 0.97, 0.1) for n in (32, 33, 34)])
    assert host.story == ["29 pending P2", "30 firing P2"]


def test_the_short_way_leaves_the_backlog_of_an_old_layout_to_the_long_one() -> None:
    """A healthy host's frame of a layout that others have left behind is late on both ways. (Broken twin,
    tried: without the short way's own look at how far others were judged this fails.)"""
    host = Host(QUICK)
    host.feed(frame(CPU, START, 0.1), frame(WIDER, START, 0.1, 0.1))
    for minute in range(1, 7):
        host.feed(frame(WIDER, START + minutes(minute), 0.1, 0.1))
    assert host.feed(frame(CPU, START + minutes(1), 0.1), received_at=START + minutes(6)).late == (0,)


def test_a_layouts_last_frames_overtaken_by_its_successors_change_no_conclusion() -> None:
    """Two collectors: the first frames of the new layout are stored a moment before the last of the old one.
    (Seen failing: the alert began to recover by a frame older than the one it fired on.)"""
    host = Host(QUICK)
    host.feed(*[frame(CPU, START + minutes(n), 0.1) for n in range(3)])
    host.feed(*[frame(WIDER, START + minutes(n), 0.97, 0.1) for n in (4, 5, 6)])
    host.feed(frame(CPU, START + minutes(3), 0.1), received_at=START + minutes(6))
    assert host.story == ["5 pending P2", "6 firing P2"]


def test_what_both_layouts_measured_in_a_pause_is_replayed() -> None:
    """The gap before a new layout's first frame is one of the layouts before it, and of its own."""
    host = Host(QUICK)
    host.feed(*[frame(CPU, START + minutes(n), 0.1) for n in range(3)])
    host.feed(frame(WIDER, START + minutes(28), 0.1, 0.1))
    span = (to_ms(START + minutes(2)), to_ms(START + minutes(28)))
    (gap,) = host.state.memory.gaps
    assert gap.layouts == {digest_of(CPU)[:8]: span, digest_of(WIDER)[:8]: span}
    received = START + minutes(29)
    for old in (frame(CPU, START + minutes(20), 0.97), frame(WIDER, START + minutes(25), 0.97, 0.1)):
        assert host.feed(old, received_at=received).late == (0,)
        assert host.state.memory.gaps[0].late == to_ms(received)
    later = START + minutes(30)
    host.feed(frame(CPU, later, 0.1))
    (gap,) = host.state.memory.gaps
    assert gap.layouts[digest_of(CPU)[:8]] == (span[0], to_ms(later))
