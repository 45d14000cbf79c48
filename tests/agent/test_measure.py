"""A check that hangs or fails costs its own values and nothing else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import ClassVar

import pytest

from agent.assemble import Plan
from agent.bounded import Bounded, TimedOut
from agent.measure import BAD_BEFORE_EVENT, Group, Measurer
from agent.reading import Column, Reading
from agent.runner import Runner


class Steady:
    """Always answers at once."""

    name: ClassVar[str] = "steady"
    interval_s: ClassVar[float] = 1.0

    def read(self, now_s: float) -> Reading:
        return Reading((Column("a.steady"),), [1.0])


class Fickle:
    """Hangs or fails when told to."""

    name: ClassVar[str] = "fickle"
    interval_s: ClassVar[float] = 1.0

    def __init__(self) -> None:
        self.free = threading.Event()
        self.free.set()
        self.fault: Exception | None = None
        self.entered = 0
        self.inside = 0

    def read(self, now_s: float) -> Reading:
        self.entered += 1
        self.inside += 1
        assert self.inside == 1, "never entered twice at the same time"
        self.free.wait(20)
        self.inside -= 1
        if self.fault:
            raise self.fault
        return Reading((Column("a.fickle"),), [2.0])


class Desk:
    """A measurer whose time the test winds; its threads are real."""

    def __init__(self) -> None:
        self.fickle = Fickle()
        self.woken = threading.Semaphore(0)
        self.runner = Runner(self.woken.release)
        self.ticks: list[dict[str, float | None]] = []
        self.events: list[tuple[str, str]] = []
        self.columns: dict[bytes, list[str]] = {}
        self.group = Group(10.0, [self.fickle, Steady()], "host")
        self.measurer = Measurer(
            [self.group],
            self.runner,
            self.take,
            lambda event_id, message, attributes: self.events.append((event_id, attributes["ucx.check"])),
            lambda: 1_760_000_000_000,
        )
        self.now_s = 1000.0

    def take(self, parts: list[tuple[Plan, list[float | None]]], at_ms: int) -> None:
        import msgspec

        tick: dict[str, float | None] = {}
        for plan, values in parts:
            names = [series[0] for series in msgspec.msgpack.decode(plan.body)[2]]
            tick |= dict(zip(names, values, strict=True))
        self.ticks.append(tick)

    def tick(self) -> dict[str, float | None]:
        """Wind to the next tick and through it."""
        before = len(self.ticks)
        self.now_s = max(self.now_s, self.group.due_s)
        self.measurer.step(self.now_s)
        self.settle()
        self.measurer.step(self.now_s)
        if len(self.ticks) == before:
            self.now_s = self.group.deadline_s
            self.measurer.step(self.now_s)
        assert len(self.ticks) == before + 1
        return self.ticks[-1]

    def settle(self) -> None:
        """Until everything is done that can be done (the runner's own time is real)."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            self.runner.tend(time.monotonic())
            jobs = [job for job in (self.group.jobs or {}).values() if job is not None]
            if all(job.finished_s or (job.started_s and not self.fickle.free.is_set()) for job in jobs):
                return
            time.sleep(0.002)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.fickle.free.set()


def test_a_hung_check_is_cut_off_and_the_others_give_their_values(desk: Desk) -> None:
    """Its column is None; it is not entered again while it hangs; afterwards it is back.

    Broken twin: with STALL_S infinite (one thread for all) 'a.steady' is None too."""
    assert desk.tick() == {"a.fickle": 2.0, "a.steady": 1.0}
    desk.fickle.free.clear()
    for _ in range(4):
        assert desk.tick() == {"a.fickle": None, "a.steady": 1.0}
    assert desk.fickle.entered == 2
    assert desk.runner.threads <= 2
    desk.fickle.free.set()
    while desk.fickle.inside:
        time.sleep(0.002)
    while desk.runner._busy:
        time.sleep(0.002)
    assert desk.tick() == {"a.fickle": 2.0, "a.steady": 1.0}
    assert desk.fickle.entered == 3


def test_lasting_trouble_is_told_once_and_so_is_its_end(desk: Desk) -> None:
    """Not at each tick: a host with one broken check must not flood the collector."""
    desk.tick()
    desk.fickle.fault = OSError("broken")
    for _ in range(BAD_BEFORE_EVENT + 3):
        assert desk.tick()["a.fickle"] is None
    assert desk.events == [("check.failed", "fickle")]
    desk.fickle.fault = None
    for _ in range(BAD_BEFORE_EVENT + 3):
        desk.tick()
    assert desk.events == [("check.failed", "fickle"), ("check.recovered", "fickle")]
    assert desk.measurer.check_health()["fickle"].failures == BAD_BEFORE_EVENT + 3


def test_a_missed_stretch_is_left_out(desk: Desk) -> None:
    """A host that slept for an hour measures once, not 360 times."""
    desk.tick()
    desk.now_s += 3600
    desk.tick()
    assert desk.group.due_s > desk.now_s
    assert len(desk.ticks) == 2


def test_threads_go_when_they_are_no_longer_needed(desk: Desk) -> None:
    """Hung twice, and back to one thread."""
    for _ in range(2):
        desk.fickle.free.clear()
        desk.tick()
        desk.fickle.free.set()
        end = time.monotonic() + 5
        while (desk.runner._busy or desk.runner.threads > 1) and time.monotonic() < end:
            time.sleep(0.002)
    assert desk.runner.threads == 1


def test_a_bounded_call_answers_fails_and_is_given_up_on() -> None:
    """While it hangs it is not asked again: one thread at most."""
    free = threading.Event()
    calls = []

    def ask() -> int:
        calls.append(1)
        if len(calls) == 2:
            raise OSError("gone")
        if len(calls) == 3:
            free.wait(20)
        return 7

    bounded = Bounded(ask)
    assert bounded.call(5) == 7
    with pytest.raises(OSError, match="gone"):
        bounded.call(5)
    for _ in range(3):
        with pytest.raises(TimedOut):
            bounded.call(0.01)
    assert len(calls) == 3
    free.set()
    assert bounded._thread is not None
    bounded._thread.join()
    assert bounded.call(5) == 7
