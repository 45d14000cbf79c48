"""The host's offset to the collector is learnt from Date headers of whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import (
    CORRECT_BEYOND_S,
    Interval,
    Step,
    Timekeeper,
    add,
    common,
    correction_ms,
    judge_step,
    observe,
    offset_s,
)

offsets = st.floats(-1e6, 1e6)
trips = st.tuples(st.floats(0, 2), st.floats(0, 2))


@given(offsets, st.lists(st.tuples(st.floats(0, 1e6), trips), min_size=1, max_size=20))
def test_the_true_offset_lies_in_what_all_answers_have_in_common(
    offset: float, answers: list[tuple[float, tuple[float, float]]]
) -> None:
    """Whatever the way there and back took; the guess is never further off than half the narrowest answer."""
    seen: tuple[Interval, ...] = ()
    for at, (there, back) in answers:
        collector = 1.7e9 + at
        new = observe(collector + offset - there, collector + offset + back, float(int(collector)))
        assert new is not None
        seen = add(seen, new)
    shared, guess = common(seen), offset_s(seen)
    assert shared is not None
    assert guess is not None
    assert shared.low - 1e-3 <= offset <= shared.high + 1e-3
    assert abs(guess - offset) <= min((i.high - i.low) / 2 for i in seen) + 1e-3


def test_a_clock_that_was_set_is_followed_at_once() -> None:
    """An answer that contradicts the earlier ones replaces them."""
    seen = add((Interval(-0.5, 0.5), Interval(-0.3, 0.6)), Interval(3599.5, 3600.5))
    assert offset_s(seen) == 3600.0


def test_a_slow_answer_or_a_clock_set_meanwhile_teaches_nothing() -> None:
    """Sixty seconds on the way could mean anything."""
    assert observe(100.0, 160.0, 100.0) is None
    assert observe(100.0, 50.0, 100.0) is None


@given(offsets)
def test_only_a_clock_that_is_far_off_is_corrected(offset: float) -> None:
    """A correction brings the stamp to within a millisecond."""
    correction = correction_ms(offset)
    if abs(offset) <= CORRECT_BEYOND_S:
        assert correction == 0
    else:
        assert abs(offset * 1000 + correction) <= 1


def test_a_correction_in_force_does_not_tremble() -> None:
    """Each change starts a new batch, so half a second more or less is left alone."""
    assert correction_ms(-100.4, 100_000) == 100_000
    assert correction_ms(-105.0, 100_000) == 105_000
    assert correction_ms(-10.0, 100_000) == 0
    assert correction_ms(None, 100_000) == 100_000


def test_the_timekeeper_stamps_corrected_time() -> None:
    """Raw stays raw: the offset is itself a metric."""
    host = datetime(2020, 1, 1, tzinfo=UTC)
    keeper = Timekeeper(lambda: host)
    assert keeper.offset_s() is None
    raw = host.timestamp()
    assert keeper.learn(raw, raw + 0.2, raw + 3600)
    assert keeper.raw_s() == raw
    assert abs(keeper.stamp_ms() / 1000 - raw - 3600) < 1
    assert not keeper.learn(raw, raw + 0.2, raw + 3600)


# ---- a clock that is set while batches wait -----------------------------------------------------------


class Host:
    """True time, and a host whose clock is ``wrong_s`` ahead; ``unseen_s`` of it passed in a pause."""

    def __init__(self, wrong_s: float = 0.0) -> None:
        self.true_s = 1_760_000_000.0
        self.wrong_s = wrong_s
        self.unseen_s = 0.0
        self.time = Timekeeper(lambda: datetime.fromtimestamp(self.shown_s, UTC), uptime=self.uptime)
        self.time.look()

    @property
    def shown_s(self) -> float:
        return self.true_s + self.wrong_s

    def uptime(self) -> float:
        return self.true_s - 1_750_000_000.0 - self.unseen_s

    def ask(self) -> None:
        """An answer of the collector."""
        self.time.learn(self.shown_s, self.shown_s, self.true_s)
        self.time.learn(self.shown_s, self.shown_s, self.true_s + 0.5)

    def stamp(self) -> tuple[float, int, int]:
        """True time, stamp, scale of a batch made now."""
        return self.true_s, self.time.stamp_ms(), self.time.scale_ms

    def placed_s(self, batch: tuple[float, int, int]) -> float:
        """How far off a collector stores a batch that is sent now (its stamps plus what it corrects)."""
        true_s, stamp, scale = batch
        offset = self.true_s * 1000 - self.time.sent_ms(scale, stamp)
        return (stamp + offset) / 1000 - true_s


@pytest.mark.parametrize("wrong_s", [-86_400.0, 86_400.0, -3600.0, -800_000_000.0])
def test_what_was_stamped_before_the_clock_was_set_is_placed_right(wrong_s: float) -> None:
    """A host boots with a wrong clock and no network; then time synchronisation sets the clock; then the
    collector can be reached. Stamps before, between and after are all placed to a second or so.

    Broken twin: sending time taken from the host's clock alone places the first by the whole difference."""
    host = Host(wrong_s)
    first = host.stamp()
    host.true_s += 600
    host.wrong_s = 0.0
    second = host.stamp()
    host.true_s += 600
    assert [host.placed_s(batch) for batch in (first, second)] == pytest.approx([0, 0], abs=0.01)
    host.ask()
    third = host.stamp()
    host.true_s += 60
    assert [host.placed_s(batch) for batch in (first, second, third)] == pytest.approx([0, 0, 0], abs=1.5)
    assert host.time.correction_ms == 0


def test_a_clock_that_is_set_wrong_while_it_was_right() -> None:
    """Back by two hours, long after the collector was last heard: stamps go on as if nothing had happened."""
    host = Host()
    host.ask()
    before = host.stamp()
    host.true_s += 60
    host.wrong_s = -7200.0
    after = host.stamp()
    assert after[1] - before[1] == 60_000
    host.true_s += 60
    assert [host.placed_s(batch) for batch in (before, after)] == pytest.approx([0, 0], abs=1.5)
    assert host.time.offset_s() is None, "what was learnt speaks of another clock"


def test_a_machine_that_was_paused_loses_no_time() -> None:
    """An hour passes that the machine does not see; its clock is put right afterwards: what was stamped
    before the pause stays where it was."""
    host = Host()
    host.ask()
    before = host.stamp()
    host.true_s += 3600
    host.unseen_s += 3600
    assert host.time.look() is Step.PASSED
    after = host.stamp()
    assert after[1] - before[1] == 3_600_000
    assert [host.placed_s(batch) for batch in (before, after)] == pytest.approx([0, 0], abs=1.5)


def test_suspend_and_resume_are_no_jump() -> None:
    """The time since boot counts sleep."""
    host = Host()
    host.true_s += 28_800
    assert host.time.look() is Step.NONE


def test_a_clock_set_back_while_the_agent_did_not_run() -> None:
    """A batch from the future is at least as old as this run: it is not refused as coming from the future."""
    host = Host()
    tomorrow = host.time.stamp_ms() + 86_400_000
    host.true_s += 300
    sent = host.time.sent_ms(0, tomorrow)
    assert sent - tomorrow == 300_000


def test_a_clock_that_is_adjusted_back_between_stamp_and_sending_moves_no_batch() -> None:
    """A second back is an adjustment, no setting. The batch that was made just before it is sent as if at
    once, however long the agent has run: not as if it had waited for all that time.

    Broken twin: taken for a batch of an earlier run, it is stored five days in the past (seen to fail)."""
    host = Host()
    host.ask()
    host.true_s += 5 * 86_400
    batch = host.stamp()
    host.wrong_s -= 1.5
    host.true_s += 0.2
    assert host.placed_s(batch) == pytest.approx(0, abs=2.0)


def test_a_host_without_a_clock_stamps_what_can_be_accepted() -> None:
    """It starts in 1970; stamps before 2000 are refused by everybody, so none is made."""
    host = Host(wrong_s=-1_760_000_000.0)
    made = host.stamp()
    assert made[1] >= 946_684_800_000
    host.true_s += 30
    host.wrong_s = 0.0
    host.ask()
    assert host.placed_s(made) == pytest.approx(0, abs=1.5)


def test_slow_adjustment_is_no_setting() -> None:
    """Half a second a minute, as daemons that slew do, is followed and never summed into a jump."""
    host = Host()
    for _ in range(60):
        host.true_s += 60
        host.wrong_s += 0.5
        assert host.time.look() is Step.NONE
    assert host.time.stepped_ms == 0


@given(st.floats(-1e9, 1e9), st.none() | st.floats(-1e6, 1e6))
def test_only_a_right_clock_that_jumps_ahead_was_paused(jump_s: float, offset: float | None) -> None:
    """Every other jump is somebody who sets it."""
    step = judge_step(jump_s, offset)
    right = offset is not None and abs(offset) <= CORRECT_BEYOND_S
    assert (step is Step.PASSED) == (jump_s >= 2.0 and right)
    assert (step is Step.NONE) == (abs(jump_s) < 2.0)
