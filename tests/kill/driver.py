"""Drives one run: breaches, kills, a drain in peace, and the comparison of the books."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tests.kill import oracle, verify
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
DRAIN_S = 90.0
"""Longest time to come to rest after the last kill."""
VICTIMS = (*HOSTS, *COLLECTORS, "postgresql")
KEPT = Path(".dev/kill")

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


def run(cycles: int, seed: int, twin: str | None, say: Say) -> Result:
    """One whole run. The directory with all logs is kept when something is wrong."""
    world, chance, started = World(twin), random.Random(seed), time.monotonic()
    faulty = True
    try:
        say(f"building the world in {world.directory}")
        world.build()
        breaches, racer = Breaches(world), Racer(world.directory / RACER, _doors(world))
        for _ in range(RACES_IN_PEACE):
            racer.race()
        kills = _kill(world, chance, cycles, breaches, racer, say)
        unfinished = _drain(world, breaches, say)
        racer.close()
        result = _compare(world, breaches.episodes, unfinished)
        faulty = bool(result.faults)
        done = msgspec.structs.replace(result, cycles=cycles, seed=seed, races=racer.races, kills=dict(kills))
        return msgspec.structs.replace(done, seconds=round(time.monotonic() - started, 1))
    finally:
        world.tear_down(keep=faulty)
        if faulty:
            say(f"everything is kept for a look: {world.directory}")


def _doors(world: World) -> tuple[str, str]:
    first, second = (world.address(name) for name in COLLECTORS)
    return first, second


def _kill(
    world: World, chance: random.Random, cycles: int, breaches: Breaches, racer: Racer, say: Say
) -> Counter[str]:
    kills: Counter[str] = Counter()
    for cycle in range(1, cycles + 1):
        breaches.tend(more=True)
        until = time.monotonic() + chance.uniform(0, LONGEST_PAUSE_S)
        while time.monotonic() < until:
            racer.race()
        victim = chance.choice(VICTIMS)
        world.kill(victim)
        world.revive()
        kills[victim] += 1
        if cycle % 10 == 0 or cycle == cycles:
            say(f"{cycle} of {cycles} kills, {len(breaches.episodes)} episodes, {racer.races} races")
    return kills


def _drain(world: World, breaches: Breaches, say: Say) -> list[str]:
    """Let everything come to rest; what did not, in words."""
    say("no more kills: waiting until everything has come to rest")
    deadline = time.monotonic() + DRAIN_S
    while breaches.tend(more=False):
        if time.monotonic() > deadline:
            return ["a breach was not taken in charge in time after the last kill"]
        world.revive()
        time.sleep(0.3)
    for host in HOSTS:
        world.tell(host, [], quiet=True)
    while not verify.delivered(_books(world)[0]):
        if time.monotonic() > deadline:
            return ["the spools were not delivered in time after the last kill"]
        time.sleep(0.5)
    return []


def _compare(world: World, episodes: set[str], unfinished: list[str]) -> Result:
    ledger, books, phones = _books(world)
    wrong = verify.faults(ledger, books, phones, episodes)
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
        races=0,
        calls=phones.calls,
        kills={},
        seconds=0.0,
        faults=unfinished + [f"{kind}: {text}" for kind, texts in wrong.items() for text in texts[:20]],
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
SELECT number, split_part(problem_key, '/', 3) || '/' || split_part(problem_key, '/', 5) FROM ticket
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
