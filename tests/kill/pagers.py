"""The pagers' story: two pagers and an auditor are killed at random while a third of all requests to the
phone company go wrong, then each pager is frozen in turn, then both are dead.

    python -m tests.kill --story pagers [--cycles 300] [--seed N] [--twin TWIN] [--json]

Afterwards: every critical alert was answered by a key that really was pressed; no page has two calls; no page
is said to be placed that the company does not know; every answered key counts once; while one pager is frozen
the other answers; while both are dead the auditor rings through the other company, and boundedly.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from tests.kill.pager_world import PAGERS, PAST_CAP_S, PagerWorld
from tests.kill.verify import page_in

FAULT_RATE = 0.3
LONGEST_PAUSE_S = 1.2
DRAIN_S = 90.0
FROZEN_S = 40.0
"""So long the pager that is left may take for one alert, with a third of the requests failing."""
AUDITOR_S = 45.0
MOST_AUDITOR_CALLS = 12
"""In an hour; past it one each ``PAST_CAP_S`` at most."""
Say = Callable[[str], None]


class Result(msgspec.Struct):
    """What one run shows; ``faults`` says what is wrong, in words."""

    cycles: int
    seed: int
    alerts: int
    answered: int
    pages: int
    calls: int
    placed: int
    """Alerts for which a phone was really rung: the company's books."""
    escalated: int
    """Alerts that went to the next person or round."""
    duplicates: int
    """Calls that were taken for lost and rung again, although the company had placed them."""
    auditor_calls: int
    kills: dict[str, int]
    seconds: float
    faults: list[str]


class Story:
    """One run."""

    def __init__(self, world: PagerWorld, chance: random.Random, say: Say) -> None:
        self._began = time.monotonic()
        self._world = world
        self._chance = chance
        self._say = say
        self.alerts = 0
        self.kills: Counter[str] = Counter()
        self.faults: list[str] = []

    def kill_at_random(self, cycles: int) -> None:
        """A new alert and a kill, again and again."""
        for cycle in range(1, cycles + 1):
            victim = self._chance.choice((*PAGERS, *PAGERS, "auditor"))
            if victim in PAGERS:
                self._world.await_ready(victim)  # a kill while it still starts proves nothing
            self._breach()
            time.sleep(self._chance.uniform(0, LONGEST_PAUSE_S))
            self._world.kill(victim)
            self._world.revive()
            self.kills[victim] += 1
            self._deadlines()
            if cycle % 10 == 0 or cycle == cycles:
                self._say(f"{cycle} of {cycles} kills")

    def drain(self) -> None:
        """No more kills: everything must be answered by the pagers."""
        if not self._answered_within(DRAIN_S, revive=True):
            self.faults.append(f"{self._waiting()} alerts were not answered within {DRAIN_S:.0f} s in peace")

    def freeze_each(self) -> None:
        """One pager stands still with whatever it holds: the other one must answer."""
        for name in PAGERS:
            self._world.freeze(name)
            self._breach()
            if not self._answered_within(FROZEN_S):
                self.faults.append(f"{name} stood still and nobody answered within {FROZEN_S:.0f} s")
            self._world.thaw(name)

    def bury_both(self) -> None:
        """No pager at all: the auditor must ring, through the other company."""
        before = len(self._auditor_calls())
        for name in PAGERS:
            self._world.end(name)
        self._breach()
        deadline = time.monotonic() + AUDITOR_S
        while len(self._auditor_calls()) == before:
            if time.monotonic() > deadline:
                self.faults.append(
                    f"both pagers were dead and the auditor rang nobody within {AUDITOR_S:.0f} s"
                )
                return
            time.sleep(0.3)
        self._world.revive()
        self.drain()

    def _breach(self) -> None:
        self.alerts += 1
        self._world.breach(self.alerts)

    def _waiting(self) -> int:
        return int(self._world.query(_WAITING)[0][0])

    def _answered_within(self, seconds: float, *, revive: bool = False) -> bool:
        deadline = time.monotonic() + seconds
        while self._waiting():
            if time.monotonic() > deadline:
                return False
            if revive:
                self._world.revive()
            self._deadlines()
            time.sleep(0.3)
        return True

    def _deadlines(self) -> None:
        if found := self._world.query(_NO_DEADLINE):
            self.faults.append(f"pagings without an answer and without a deadline: {found}")

    def _auditor_calls(self) -> list[dict[str, Any]]:
        return [line for line in self._world.journal("fallback") if line["kind"] == "placed"]

    def compare(self) -> Result:
        """The books of the database against those of the phone companies."""
        placed = Counter(page_in(line["url"]) for line in self._journal("placed"))
        pressed = {page_in(line["url"]) for line in self._journal("callback") if _is_answered_key(line)}
        pages = {str(page): str(call) for page, call in self._world.query(_PAGES)}
        said = {str(page) for (page,) in self._world.query(_SAID_PLACED)}
        acknowledged = Counter(str(page) for (page,) in self._world.query(_ACKNOWLEDGED))
        auditor_calls = len(self._auditor_calls())
        self.faults += [f"page {page} has {n} calls" for page, n in placed.items() if n > 1]
        self.faults += [
            f"page {page} is said to be placed, no such call" for page in sorted(said - placed.keys())
        ]
        self.faults += [
            f"key 4 for page {page} does not count" for page in sorted(pressed - acknowledged.keys())
        ]
        self.faults += [f"page {page} is acknowledged {n} times" for page, n in acknowledged.items() if n > 1]
        keys = self._really_pressed()
        invented = {page for page in acknowledged if pages.get(page) not in keys}
        self.faults += [f"page {page} was acknowledged by no key" for page in sorted(invented)]
        if auditor_calls > MOST_AUDITOR_CALLS + (time.monotonic() - self._began) / PAST_CAP_S:
            self.faults.append(f"the auditor called {auditor_calls} times")
        return Result(
            cycles=0,
            seed=0,
            alerts=self.alerts,
            answered=self.alerts - self._waiting(),
            pages=len(pages),
            calls=placed.total(),
            placed=len({request for page, request in self._requests() if pages[page] in placed}),
            escalated=int(self._world.query(_ESCALATED)[0][0]),
            duplicates=len({str(page) for (page,) in self._world.query(_IN_DOUBT)} & placed.keys()),
            auditor_calls=auditor_calls,
            kills=dict(self.kills),
            seconds=0.0,
            faults=self.faults,
        )

    def _really_pressed(self) -> set[str]:
        """Pages in whose calls key 4 was pressed, also when the one who was told died before it could
        answer."""
        urls = {line["sid"]: line["url"] for line in self._journal("placed")}
        sids = {line["sid"] for line in self._journal("pressed") if line["digits"] == "4"}
        return {page_in(urls[sid]) for sid in sids}

    def _requests(self) -> list[tuple[str, int]]:
        return [(str(page), int(request)) for page, request in self._world.query(_REQUESTS)]

    def _journal(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self._world.journal("phones") if line["kind"] == kind]


def run(cycles: int, seed: int, twin: str | None, say: Say) -> Result:
    """One whole run. The directory with all logs is kept when something is wrong."""
    started, faulty = time.monotonic(), True
    world = PagerWorld(twin, seed)
    try:
        say(f"building the world in {world.directory}")
        world.build(FAULT_RATE)
        story = Story(world, random.Random(seed), say)
        story.kill_at_random(cycles)
        say("no more kills: waiting until everything is answered")
        story.drain()
        say("each pager stands still once")
        story.freeze_each()
        say("both pagers are dead")
        story.bury_both()
        result = story.compare()
        faulty = bool(result.faults)
        seconds = round(time.monotonic() - started, 1)
        return msgspec.structs.replace(result, cycles=cycles, seed=seed, seconds=seconds)
    finally:
        world.tear_down(keep=faulty)
        if faulty:
            say(f"everything is kept for a look: {world.directory}")


def _is_answered_key(line: dict[str, Any]) -> bool:
    good = line.get("answered") == 200 and not line.get("forged")
    return good and line["fields"].get("Digits") == "4"


_WAITING = """
SELECT count(*) FROM page_request q WHERE q.ended_at IS NULL AND NOT EXISTS (
    SELECT FROM acknowledgement a
    WHERE a.tenant_id = q.tenant_id AND a.page_request_id = q.page_request_id)
"""
_NO_DEADLINE = "SELECT page_request_id FROM paging WHERE state = 'active' AND next_look_at IS NULL"
_PAGES = "SELECT page_id, coalesce(bundle_id, page_id) FROM page"
_REQUESTS = "SELECT page_id, page_request_id FROM page"
_ESCALATED = "SELECT count(DISTINCT page_request_id) FROM page_event WHERE kind IN ('next', 'loop')"
_IN_DOUBT = "SELECT DISTINCT page_id FROM page_event WHERE kind = 'in_doubt'"
_SAID_PLACED = "SELECT DISTINCT coalesce(bundle_id, page_id) FROM page WHERE placed_at IS NOT NULL"
_ACKNOWLEDGED = "SELECT page_id FROM acknowledgement WHERE page_id IS NOT NULL"
