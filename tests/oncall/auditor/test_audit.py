"""What the auditor does about findings: bounded, growing, never giving up, quiet only for key 4."""

from __future__ import annotations

import itertools
import random
from datetime import datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from oncall.auditor import audit as core
from oncall.auditor.audit import Number, Ring, State
from oncall.auditor.finding import Finding
from oncall.auditor.settings import Listen, Settings
from tests.oncall.world import NOON

S = Settings(listen=Listen("https://auditor.example"))
PEOPLE = [Number("Anna", "+390584000001"), Number("Ben", "+390584000002")]
DISK = Finding("alert:1:7", "Acme: disk exhausted. No phone has rung.")


class Night:
    """Winds the clock: an audit every 30 s, calls of 20 s that end as told."""

    def __init__(self, s: Settings = S) -> None:
        self.s = s
        self.now = NOON
        self.state = State()
        self.calls: list[tuple[datetime, Ring]] = []
        self.healthy: list[bool] = []
        self.fate = "unheard"

    def run(self, found: list[Finding], seconds: float, *, blind: bool = False) -> None:
        until = self.now + timedelta(seconds=seconds)
        while self.now < until:
            self.step(found, blind=blind)
            self.now += timedelta(seconds=30)

    def step(self, found: list[Finding], *, blind: bool = False) -> None:
        self._end()
        verdict = core.audit(found, PEOPLE, self.state, self.s, self.now, blind=blind)
        self.state = verdict.state
        self.healthy.append(verdict.healthy)
        if verdict.ring:
            self.calls.append((self.now, verdict.ring))
            self.state = core.placing(self.state, verdict.ring, f"n{len(self.calls)}", self.now)

    def _end(self) -> None:
        call = self.state.call
        if call is None:
            return
        if self.fate in ("4", "5"):
            self.state, entry = core.key_pressed(self.state, call.nonce, self.fate, self.now)
            assert entry is not None
            return
        self.state, _ = core.over(self.state, self.s, self.now, heard=self.fate == "heard", why=self.fate)

    def keys(self) -> list[str]:
        return [concern.finding.key for concern in self.state.concerns]

    def pauses(self) -> list[float]:
        times = [at for at, _ in self.calls]
        return [(b - a).total_seconds() for a, b in itertools.pairwise(times)]


def test_nobody_answers_so_the_pauses_grow_everybody_has_a_turn_and_it_never_ends() -> None:
    """A night without an answer: pauses double up to an hour, Anna and Ben in turn, and no end."""
    night = Night()
    night.run([DISK], 12 * 3600)
    pauses = night.pauses()
    assert pauses == sorted(pauses)
    assert pauses[0] < 120
    assert 3600 <= pauses[-1] <= 3660
    assert {ring.to.name for _, ring in night.calls[:2]} == {"Anna", "Ben"}
    assert night.now - night.calls[-1][0] <= timedelta(seconds=3660)


def test_key_four_silences_what_was_read_out_until_it_expires_and_nothing_else() -> None:
    """Acknowledged at noon: quiet for an hour, then again; a second trouble meanwhile rings at once."""
    night = Night()
    night.fate = "4"
    night.run([DISK], 1800)
    assert len(night.calls) == 1
    other = Finding("database", "The database is out of reach.")
    night.run([DISK, other], 600)
    assert [ring.keys for _, ring in night.calls[1:]] == [("database",)]
    night.run([DISK], 1800)
    assert night.calls[-1][1].keys == (DISK.key,)
    assert night.calls[-1][0] >= NOON + timedelta(hours=1)


def test_without_a_door_for_keys_being_heard_stretches_the_pauses_and_silences_nothing() -> None:
    """No public URL: a person listened, so the next call is an hour later, but it comes."""
    night = Night(Settings())
    night.fate = "heard"
    night.run([DISK], 3 * 3600)
    assert [round(pause / 3600, 1) for pause in night.pauses()] == [1.0, 1.0]


def test_a_thousand_findings_are_one_call() -> None:
    """The call reads five and counts the rest; key 4 covers them all."""
    storm = [Finding(f"alert:1:{n}", f"problem {n}") for n in range(1000)]
    night = Night()
    night.fate = "4"
    night.run(storm, 3000)
    assert len(night.calls) == 1
    text = night.calls[0][1].text
    assert "problem 4" in text
    assert "problem 5" not in text
    assert "And 995 more." in text


def test_the_heartbeat_is_withheld_while_blind_and_while_nobody_has_heard_of_an_urgent_finding() -> None:
    """The watchdog outside hears nothing: it alarms when we cannot."""
    night = Night()
    night.run([DISK], 600)
    assert all(night.healthy)
    night.run([DISK], 600)
    assert night.healthy[-1:] == [False]
    night.fate = "heard"
    night.run([DISK], 3600)
    assert night.healthy[-1]
    night.run([DISK], 60, blind=True)
    assert not night.healthy[-1]


def test_what_was_wrong_before_the_database_went_away_is_still_wrong() -> None:
    """Unknown is not cleared: the finding stays, and is due again when its acknowledgement expires."""
    night = Night()
    night.fate = "4"
    night.run([DISK], 120)
    night.run([], 600, blind=True)
    assert night.keys() == [DISK.key]
    night.run([], 60)
    assert night.keys() == []


def test_what_can_wait_rings_in_calm_hours_once_a_day() -> None:
    """A gap in October: one call on each of three days, none at night."""
    night = Night()
    night.fate = "heard"
    night.run([Finding("rota:gaps", "2 gaps in October", urgent=False)], 3 * 86400)
    assert 3 <= len(night.calls) <= 4
    assert all(S.calm_from <= at.hour < S.calm_to for at, _ in night.calls)


@given(seed=st.integers(0, 10_000))
def test_never_a_storm_and_never_silence(seed: int) -> None:
    """Findings come and go at random, people answer at random, for six hours: never more calls in an hour
    than the limit and one each ``past_cap_s``, never an urgent finding that is neither acknowledged nor about
    to ring; and the state survives its file.

    Broken twin: without the limit of an hour, findings that come and go ring once a minute: seen here."""
    dice, night = random.Random(seed), Night()
    pool = [Finding(f"alert:1:{n}", f"problem {n}") for n in range(6)]
    for _ in range(6 * 120):
        night.fate = dice.choice(["unheard", "unheard", "heard", "4", "5"])
        night.step(dice.sample(pool, dice.randrange(len(pool))), blind=dice.random() < 0.05)
        due = [c for c in night.state.concerns if core.is_due(c, night.s, night.now)]
        assert (
            not due or night.state.call or night.state.next_at or len(night.state.recent) >= S.calls_per_hour
        )
        night.now += timedelta(seconds=30)
        encoded = msgspec.json.encode(night.state)
        assert msgspec.json.decode(encoded, type=State) == night.state
    times = [at for at, _ in night.calls]
    for first in times:
        hour = sum(first <= at < first + timedelta(hours=1) for at in times)
        assert hour <= S.calls_per_hour + 3600 / S.past_cap_s


def test_the_cap_of_calls_hides_no_new_trouble() -> None:
    """Twelve troubles, each taken by key 4 at once, have used up the hour. The thirteenth rings within five
    minutes all the same, and the watchdog outside hears nothing until a person has heard of it.

    Broken twin: with a hard limit it waits for the rest of the hour (seen in the pagers' kill story, where it
    stayed silent while both pagers were dead)."""
    night = Night()
    night.fate = "4"
    for n in range(S.calls_per_hour):
        night.run([Finding(f"alert:1:{n}", f"problem {n}")], 90)
    assert len(night.calls) == S.calls_per_hour
    night.run([DISK], 60)
    assert len(night.calls) == S.calls_per_hour
    assert not night.healthy[-1]
    night.run([DISK], S.past_cap_s)
    assert [ring.keys for _, ring in night.calls[S.calls_per_hour :]] == [(DISK.key,)]
    assert night.healthy[-1]
