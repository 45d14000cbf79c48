"""The judge against a model of the same words, written independently of it: same transitions, however cut.

The model keeps what no host could afford - the whole run of samples that said the same - and reads the rule
as a person would. It knows levels, ``for``, clear conditions, unknown values, gaps and flapping.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.state import dump, load
from tests.alerting.kit import CPU, START, Host, evaluator_of, frame
from tests.alerting.test_judge import HEAD, RULE

STEP = 60
Sample = tuple[int, int | None]
"""(second, percent; None = not measured)."""


class Terms(NamedTuple):
    """One level, in percent and seconds."""

    over: int
    under: int
    hold: int
    clear_hold: int


class Degree:
    """One level in the model."""

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.on = False
        self.run: list[int] = []
        """Seconds of the samples in a row that speak for a change."""

    def take(self, at: int, percent: int, steady: int) -> None:
        speaks = percent < self.terms.under if self.on else percent > self.terms.over
        if not speaks or (self.run and at - self.run[-1] > 3 * STEP):
            self.run = []
        if not speaks:
            return
        self.run.append(at)
        needed = max(self.terms.clear_hold, steady) if self.on else self.terms.hold
        if at - self.run[0] >= needed:
            self.on, self.run = not self.on, []


class Model:
    """One rule on one value."""

    def __init__(self, terms: list[Terms]) -> None:
        self.degrees = [Degree(one) for one in terms]
        self.shown: tuple[str, int] | None = None
        self.fired: list[int] = []
        self.story: list[tuple[int, str, int]] = []

    def take(self, at: int, percent: int | None) -> None:
        if percent is None:
            return
        flaps = sum(at - one <= 3600 for one in self.fired[-3:]) >= 3
        for degree in self.degrees:
            degree.take(at, percent, 900 if flaps else 0)
        now = self.stands()
        if now == self.shown or (now is None and self.shown is None):
            return
        if self.shown is not None and now is not None and now[0] == "pending":
            return  # what is told already stays until something is decided
        if now is None:
            self.tell(at, "resolved", self.shown[1] if self.shown else 0)
        else:
            if now[0] == "firing" and (self.shown is None or self.shown[0] == "pending"):
                self.fired.append(at)
            self.tell(at, *now)
        self.shown = now

    def stands(self) -> tuple[str, int] | None:
        on = [(n, degree) for n, degree in enumerate(self.degrees, 1) if degree.on]
        if on:
            return "recovering" if all(d.run for _, d in on) else "firing", on[0][0]
        waiting = next(((n, d) for n, d in enumerate(self.degrees, 1) if d.run), None)
        if waiting is None or (self.shown is None and len(waiting[1].run) < 2):
            return None
        return "pending", waiting[0]

    def tell(self, at: int, state: str, priority: int) -> None:
        self.story.append((at, state, priority))


@st.composite
def levels(draw: st.DrawFn) -> list[Terms]:
    overs = sorted(draw(st.sets(st.integers(40, 95), min_size=1, max_size=3)), reverse=True)
    return [
        Terms(
            over,
            over - draw(st.sampled_from([0, 5, 20])),
            draw(st.sampled_from([0, 60, 120, 300])),
            draw(st.sampled_from([0, 60, 180])),
        )
        for over in overs
    ]


@st.composite
def samples(draw: st.DrawFn) -> list[Sample]:
    at, percent, found = 0, 30, []
    for _ in range(draw(st.integers(1, 80))):
        at += draw(st.sampled_from([60, 60, 60, 60, 30, 120, 180, 240, 600]))
        percent = draw(st.sampled_from([percent, percent, 20, 45, 70, 85, 99]))
        found.append((at, None if draw(st.integers(0, 9)) == 0 else percent))
    return found


def _pack(terms: list[Terms]) -> str:
    lines = [
        f"      - {{priority: P{n}, when: value > {t.over} %, for: {t.hold} s, "
        f"clear: value < {t.under} %, clear_for: {t.clear_hold} s}}\n"
        for n, t in enumerate(terms, 1)
    ]
    return HEAD + RULE.format(id="m") + "    metric: system.cpu.utilization\n    levels:\n" + "".join(lines)


@given(levels(), samples(), st.sets(st.integers(1, 79), max_size=12))
@settings(max_examples=150, deadline=None)
def test_the_judge_tells_what_the_model_tells(
    terms: list[Terms], series: list[Sample], cuts: set[int]
) -> None:
    """Whatever the rule, the values, the gaps and the batches, through the stored form at each cut.

    Broken twins, tried: a gap of four intervals, a flapping alert that clears as any other, and an unknown
    value that undoes what waits or keeps an end from coming each fail here."""
    model, host = Model(terms), Host(evaluator_of(_pack(terms)))
    for one in series:
        model.take(*one)
    edges = sorted({0, *[c for c in cuts if c < len(series)], len(series)})
    for begin, end in pairwise(edges):
        frames = [
            frame(CPU, START + timedelta(seconds=at), None if percent is None else percent / 100)
            for at, percent in series[begin:end]
        ]
        host.feed(*frames, received_at=START + timedelta(seconds=series[-1][0]))
        host.state = msgspec.structs.replace(host.state, memory=load(dump(host.state.memory)))
    begun = round(START.timestamp() * 1000)
    changes = [alert.change for outcome in host.outcomes for alert in outcome.alerts]
    told = [((c.at_ms - begun) // 1000, str(c.to_state), c.priority) for c in changes]
    assert told == model.story
