"""The short way of judging healthy hosts: it concludes what the long one concludes, or leaves it to that."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from alerting import calm
from alerting.evaluate import FrameInput, HostState, evaluate
from alerting.inputs import EventInput
from alerting.judge import judged_singly
from tests.alerting.kit import CPU, SCOPE, START, Host, evaluator_of, event, frame, layout_of, minutes
from tests.alerting.test_judge import DEFAULT, ONE

DISK = layout_of(("system.filesystem.free_ratio", {"system.filesystem.mountpoint": "C:"}), interval_s=30.0)
LAYOUTS = (CPU, DISK)


@st.composite
def rounds(draw: st.DrawFn) -> list[list[FrameInput | EventInput]]:
    """Batches of a host: mostly healthy frames in time; some late, after a gap, breaching, empty; events."""
    found: list[list[FrameInput | EventInput]] = []
    at = START
    for _ in range(draw(st.integers(1, 6))):
        items: list[FrameInput | EventInput] = []
        for _ in range(draw(st.integers(1, 3))):
            at += timedelta(seconds=draw(st.sampled_from([0, 30, 60, 60, 400, -45])))
            value = draw(st.sampled_from([0.3, 0.3, 0.3, 0.5, 0.97, 0.01, None]))
            items.append(frame(draw(st.sampled_from(LAYOUTS)), at, value))
            if draw(st.integers(0, 9)) == 0:
                items.append(event(at, "Service Control Manager", "7031"))
        found.append(sorted(items, key=lambda item: item.at))
    return found


@settings(max_examples=300)
@given(rounds(), st.lists(st.integers(-90, 90), min_size=6, max_size=6))
def test_both_ways_conclude_the_same(batches: list[list[FrameInput | EventInput]], delays: list[int]) -> None:
    """Whatever comes, and whenever it is received: the outcome of ``evaluate`` is that of judging singly.

    Broken twins, tried: without the check of the gap, of the breach, or of what is remembered, this fails."""
    state = HostState(SCOPE.tenant_id, SCOPE.host_id)
    for items, delay in zip(batches, delays, strict=False):
        received = items[-1].at + timedelta(seconds=delay)
        expected = judged_singly(DEFAULT, SCOPE, state, items, received)
        assert evaluate(DEFAULT, SCOPE, state, items, received) == expected
        state = expected.state


def test_a_healthy_host_goes_the_short_way() -> None:
    """From its second frame on; a breach, and every frame until its track is gone, do not."""
    host = Host(evaluator_of(ONE))

    def short(minute: float, value: float) -> bool:
        item = frame(CPU, START + minutes(minute), value)
        kept = calm.judged(host.evaluator, SCOPE, host.state, [item], item.at)
        taken = host.state.memory.calm and kept is not None
        host.feed(item)
        return taken

    assert [short(n, value) for n, value in enumerate([0.1, 0.1, 0.97, 0.1, 0.1])] == [
        False,
        True,
        False,
        False,
        True,
    ]
