"""The host's offset to the collector is learnt from Date headers of whole seconds."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from agent.clock import CORRECT_BEYOND_S, Interval, Timekeeper, add, common, correction_ms, observe, offset_s

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
