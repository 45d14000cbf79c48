"""Drives one run: breaches, kills, a drain in peace, and the comparison of the books."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from tests.kill import aims, desk, oracle, verify
from tests.kill.aims import Aim
from tests.kill.host import INSTANCES
from tests.kill.racer import Racer
from tests.kill.verify import Books, Result
from tests.kill.world import COLLECTORS, HOSTS, RACER, World

LONGEST_PAUSE_S = 1.2
"""Between two kills; the shortest is nothing."""
BREACHES_AT_ONCE = 2
"""Per host."""
RACES_IN_PEACE = 25
"""Before the first kill, when both doors are open."""
SEED_EVERY = 2
"""Kills between two seeded tickets."""

Say = Callable[[str], None]


class Breaches:
    """Which instances are in breach now: each stays so until a person has taken its ticket in charge."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._free = {host: [f"i{number:03}" for number in range(INSTANCES)] for host in HOSTS}
        self._now: dict[str, list[str]] = {host: [] for host in HOSTS}
        self.episodes: set[str] = set()

    def tend(self, *, more: bool) -> bool:
        """End what was taken in charge, begin new ones if ``more``; True while any is open."""
        taken = {str(row[0]) for row in self._world.query(_TAKEN)}
        for host, breached in self._now.items():
            breached[:] = [instance for instance in breached if f"{host}/{instance}" not in taken]
            while more and len(breached) < BREACHES_AT_ONCE and self._free[host]:
                breached.append(self._free[host].pop(0))
                self.episodes.add(f"{host}/{breached[-1]}")
            self._world.tell(host, breached, quiet=False)
        return any(self._now.values())


class Run:
    """One whole run."""

    def __init__(self, world: World, chance: random.Random, aim: Aim, say: Say) -> None:
        self._world, self._chance, self._aim, self._say = world, chance, aim, say
        self.breaches = Breaches(world)
        self.seeded: dict[str, frozenset[str]] = {}
        self.kills: Counter[str] = Counter()

    def perform(self, cycles: int, racer: Racer) -> Result:
        """Breaches and kills, a drain in peace, the comparison."""
        for _ in range(RACES_IN_PEACE):
            racer.race()
        self._world.ask(desk.poison)
        for cycle in range(1, cycles + 1):
            self._cycle(cycle, racer)
            if cycle % 10 == 0 or cycle == cycles:
                self._say(
                    f"{cycle} of {cycles} kills, {len(self.breaches.episodes)} episodes, {racer.races} races"
                )
        unfinished = self._drain()
        return _compare(self._world, self.breaches.episodes, self.seeded, unfinished)

    def _cycle(self, cycle: int, racer: Racer) -> None:
        self.breaches.tend(more=True)
        if cycle % SEED_EVERY == 0:
            self.seeded |= self._world.ask(lambda conn: desk.seed(conn, 1 + cycle // SEED_EVERY % 4))
        until = time.monotonic() + self._chance.uniform(0, LONGEST_PAUSE_S)
        while time.monotonic() < until:
            racer.race()
        self.kills.update(self._aim.strike(self._world, self._chance))
        self._world.revive()

    def _drain(self) -> list[str]:
        """Let everything come to rest; what did not, in words."""
        self._say("no more kills: waiting until everything has come to rest")
        deadline = time.monotonic() + self._aim.drain_s
        while self.breaches.tend(more=False):
            if time.monotonic() > deadline:
                return ["a breach was not taken in charge in time after the last kill"]
            self._world.revive()
            time.sleep(0.3)
        for host in HOSTS:
            self._world.tell(host, [], quiet=True)
        while not self._at_rest():
            if time.monotonic() > deadline:
                return ["the spools were not delivered, or the desk did not settle, in time"]
            time.sleep(0.5)
        return []

    def _at_rest(self) -> bool:
        settled = desk.settled(self._world.ask(desk.read), self.seeded)
        return settled and verify.delivered(_books(self._world)[0])


def run(cycles: int, seed: int, twin: str | None, say: Say) -> Result:
    """One whole run. The directory with all logs is kept when something is wrong."""
    world, started = World(twin), time.monotonic()
    faulty = True
    try:
        say(f"building the world in {world.directory}")
        world.build()
        aim = aims.TWINS[twin] if twin else aims.ANYTHING
        this = Run(world, random.Random(seed), aim, say)
        racer = Racer(world.directory / RACER, _doors(world))
        result = this.perform(cycles, racer)
        racer.close()
        faulty = bool(result.faults)
        done = msgspec.structs.replace(
            result, cycles=cycles, seed=seed, races=racer.races, kills=dict(this.kills)
        )
        return msgspec.structs.replace(done, seconds=round(time.monotonic() - started, 1))
    finally:
        world.tear_down(keep=faulty)
        if faulty:
            say(f"everything is kept for a look: {world.directory}")


def _doors(world: World) -> tuple[str, str]:
    first, second = (world.address(name) for name in COLLECTORS)
    return first, second


def _compare(world: World, episodes: set[str], seeded: desk.Steps, unfinished: list[str]) -> Result:
    ledger, books, phones = _books(world)
    found = world.ask(desk.read)
    wrong, misdone = verify.faults(ledger, books, phones, episodes), desk.faults(found, seeded)
    return Result(
        cycles=0,
        seed=0,
        acknowledged=ledger.receipts,
        samples=len(ledger.spooled_frames) * (INSTANCES + 1),
        lost=len(wrong["lost"]),
        doubled=len(wrong["doubled"]),
        tickets=len(books.tickets),
        episodes=len(episodes),
        unpaged=len(wrong["unpaged"]),
        unacknowledged=len(wrong["unacknowledged"]),
        gaps=len(wrong["gaps"]),
        escalations=sum(found.steps.get(number, Counter()).total() for number in seeded),
        misdone=sum(map(len, misdone.values())),
        races=0,
        calls=phones.calls,
        kills={},
        seconds=0.0,
        faults=unfinished
        + [f"{kind}: {text}" for kind, texts in (wrong | misdone).items() for text in texts[:20]],
    )


def _books(world: World) -> tuple[verify.Ledger, Books, verify.Phones]:
    journals = {host: oracle.read(path) for host, path in world.journals.items()}
    frames = {(str(host), int(str(ms))): int(str(n)) for host, ms, n in world.query(_FRAMES)}
    pages = {
        str(page): verify.Page(str(number), str(call), bool(placed))
        for page, number, call, placed in world.query(_PAGES)
    }
    books = Books(
        frames=Counter(frames),
        events=Counter({str(uid): int(str(n)) for uid, n in world.query(_EVENTS)}),
        tickets={str(number): str(what) for number, what in world.query(_TICKETS)},
        pages=pages,
        acknowledged={str(row[0]) for row in world.query(_ACKNOWLEDGED)},
        gaps=len(world.query(_GAPS)),
    )
    return verify.ledger(journals), books, verify.phones(_phone_records(world))


def _phone_records(world: World) -> list[dict[str, Any]]:
    return list(oracle.read(world.phone_journal))


_FRAMES = """
SELECT h.name, round(extract(epoch FROM f.time) * 1000)::bigint, count(*)
FROM frame f JOIN host h USING (tenant_id, host_id) WHERE h.name <> 'racer' GROUP BY 1, 2
"""
_EVENTS = "SELECT attributes->>'uid', count(*) FROM event WHERE attributes ? 'uid' GROUP BY 1"
_TICKETS = """
SELECT number, split_part(problem_key, '/', 3) || '/' || split_part(problem_key, '/', 5)
FROM ticket WHERE split_part(problem_key, '/', 1) = 'patient'
"""
_TAKEN = """
SELECT split_part(problem_key, '/', 3) || '/' || split_part(problem_key, '/', 5)
FROM ticket WHERE taken_at IS NOT NULL
"""
_PAGES = """
SELECT p.page_id::text, t.number, coalesce(p.bundle_id, p.page_id)::text, p.placed_at IS NOT NULL
FROM page p JOIN page_request r USING (tenant_id, page_request_id) JOIN ticket t USING (tenant_id, ticket_id)
"""
_ACKNOWLEDGED = "SELECT page_id::text FROM acknowledgement WHERE page_id IS NOT NULL"
_GAPS = """
SELECT alert_id FROM alert_transition GROUP BY tenant_id, alert_id
HAVING max(seq) <> count(*) OR min(seq) <> 1
"""
