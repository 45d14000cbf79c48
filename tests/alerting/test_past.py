"""History in pieces: what a trial keeps of the past, and that pieces change nothing."""

from __future__ import annotations

import random
from datetime import timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st

from alerting.evaluate import Evaluator, FrameInput
from alerting.forecast import PAST_S, stepped
from alerting.pack import default_document, parse_pack
from alerting.past import Past
from alerting.simulation import SimulatedHost
from tests.alerting.kit import SCOPE, START, frame, layout_of

DISK = {"system.filesystem.mountpoint": "/data"}
VOLUME = layout_of(
    ("system.filesystem.free_ratio", DISK),
    ("system.filesystem.free", DISK),
    "system.cpu.utilization",
)
KEY = ("system.filesystem.free", tuple(sorted(DISK.items())))
DEFAULT = Evaluator(1, parse_pack(default_document()).rules)


def volume(seed: int, hours: float) -> list[FrameInput]:
    """A frame every two minutes of 2 TB of which 50 GB a day are used up, with holes; its CPU runs hot at
    times, and now and then somebody empties the volume."""
    rand = random.Random(seed)
    free, hot, frames = 200e9, False, []
    for n in range(int(hours * 30)):
        free = max(free - rand.uniform(0, 2 * 50e9 / 720), 1e6) if rand.random() > 0.0002 else 6e11
        hot = hot if rand.random() > 0.02 else not hot
        if rand.random() < 0.02:
            continue
        values = (free / 2e12, None if rand.random() < 0.05 else free, 0.99 if hot else 0.2)
        frames.append(frame(VOLUME, START + timedelta(minutes=2 * n), *values))
    return frames


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(1, 300), min_size=1, max_size=12))
def test_the_past_in_pieces_is_the_past(seed: int, sizes: list[int]) -> None:
    """However it is cut into pieces, what a forecast is given is the worst of each quarter of an hour."""
    frames = volume(seed, 30)
    past, at = Past(DEFAULT), 0
    for size in [*sizes, len(frames)]:
        past.take(frames[at : at + size])
        at += size
    known = [(f.at.timestamp(), f.values[1]) for f in frames if f.values[1] is not None]
    now = frames[-1].at.timestamp()
    assert past.points(KEY, 0.0, now) == stepped(known)
    assert past.points(KEY, 1e15, now) == stepped(known, rising=True)
    assert past.points(KEY, 0.0, now + PAST_S) == []


def test_the_past_is_bounded() -> None:
    """Sixty days leave no more than thirty; of metrics that no forecast names, nothing is kept."""
    past = Past(DEFAULT)
    for day in range(60):
        past.take(
            [frame(VOLUME, START + timedelta(days=day, minutes=15 * n), 0.5, 1e9, 0.5) for n in range(96)]
        )
    assert all(len(steps) <= 30 * 96 for steps in past._steps.values())
    kept = {metric for metric, _ in past._steps}
    assert kept == {"system.filesystem.free_ratio", "system.filesystem.free"}


@settings(max_examples=4, deadline=None)
@example(1, 100)
@given(st.integers(0, 2**32), st.integers(2, 400))
def test_a_history_judged_in_pieces_says_the_same(seed: int, size: int) -> None:
    """Pieces of any length against one frame after the other: the same alerts at the same times.

    Broken twin: with every piece judged at its newest frame's time, forecasts are answered late."""
    frames = volume(seed, 96)
    singly, pieces = SimulatedHost(DEFAULT, SCOPE), SimulatedHost(DEFAULT, SCOPE)
    for one in frames:
        singly.feed([one], one.at)
    for start in range(0, len(frames), size):
        pieces.replay(frames[start : start + size])
    assert pieces.history == singly.history
    assert pieces.state.memory == singly.state.memory
    assert singly.history, "the story has alerts"
