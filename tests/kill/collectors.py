"""The collectors' story: three collectors with group commit on, behind a balancer that sends every request of
a host to another one, half of them to two at once, and loses answers; collectors and PostgreSQL are killed at
random.

    python -m tests.kill --story collectors [--cycles 300] [--seed N] [--twin TWIN] [--json]

Afterwards, from the hosts' own books:

    frames      every acknowledged frame is stored once, with its values, and can be read as people read it
    histories   every alert's transitions are those that one evaluator, given each host's frames in order,
                comes to (the pure core, run here)
    racer       frames that overtook one another through two collectors made nothing fire
    deadlocks   PostgreSQL's log knows of none, though groups with the same keys were on their way at once
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from alerting.evaluate import FrameInput, HostScope, HostState, evaluate, load_evaluator
from alerting.evaluator import Evaluator
from collector.pending import at
from collector.published import frames_between
from tests.kill.collectors_world import COLLECTORS, RACER, CollectorsWorld
from tests.kill.ground import Connection
from tests.kill.nomad import Acknowledged, Nomad
from wire import layout as wire_layout
from wire.clock import utcnow

LONGEST_PAUSE_S = 1.2
DRAIN_S = 60.0
RACES_IN_PEACE = 10
PEACE_S = 1.0
"""Before the first kill: time for every collector to meet every host."""
Say = Callable[[str], None]
Story = tuple[str, str]
"""Rule and instance."""
History = list[tuple[Any, ...]]
"""(at ms, from, to, priority, value, reason) ..."""


class Result(msgspec.Struct):
    """What one run shows; ``faults`` says what is wrong, in words."""

    cycles: int
    seed: int
    acknowledged: int
    """Frames with a receipt."""
    tries: int
    """Batches sent, again and again included."""
    twice: int
    """Requests that the balancer gave to two collectors at once."""
    answers_lost: int
    transitions: int
    layouts: int
    races: int
    deadlocks: int
    kills: dict[str, int]
    seconds: float
    faults: list[str]


class Books(msgspec.Struct):
    """What the database holds of one host."""

    scope: HostScope
    stored: list[tuple[int, bytes, tuple[float | None, ...]]]
    """Every frame as a replay reads it: time in ms, digest of its layout, values."""
    rows: int
    """Frames by the table itself: more than ``stored`` means that some cannot be read."""
    histories: dict[Story, History]


ANYTHING = {"collector": 50, "two": 10, "transactions": 25, "postgresql": 15}
"""What is struck, and how often."""


def strike(world: CollectorsWorld, chance: random.Random) -> str:
    """One disaster; returns its name."""
    kind = chance.choices(list(ANYTHING), list(ANYTHING.values()))[0]
    if kind == "postgresql":
        world.crash_database()
    elif kind == "transactions":
        world.cut()
    else:
        world.kill(*chance.sample(COLLECTORS, 2 if kind == "two" else 1))
    return kind


def run(cycles: int, seed: int, twin: str | None, say: Say) -> Result:
    """One whole run. The directory with all logs is kept when something is wrong."""
    started, faulty, chance = time.monotonic(), True, random.Random(seed)
    world, kills = CollectorsWorld(twin, seed), Counter[str]()
    try:
        say(f"building the world in {world.directory}")
        racer = world.build()
        for _ in range(RACES_IN_PEACE):
            racer.race()
        time.sleep(PEACE_S)
        for cycle in range(1, cycles + 1):
            until = time.monotonic() + chance.uniform(0, LONGEST_PAUSE_S)
            while time.monotonic() < until:
                racer.race()
            kills[strike(world, chance)] += 1
            world.revive()
            if cycle % 10 == 0 or cycle == cycles:
                say(f"{cycle} of {cycles} kills, {sum(len(n.acknowledged) for n in world.nomads)} frames")
        say("no more kills: waiting until everything is delivered")
        faults = _drain(world)
        racer.close()
        result = _compare(world, faults)
        faulty = bool(result.faults)
        result.cycles, result.seed, result.kills, result.races = cycles, seed, dict(kills), racer.races
        result.seconds = round(time.monotonic() - started, 1)
        return result
    finally:
        world.tear_down(keep=faulty)
        if faulty:
            say(f"everything is kept for a look: {world.directory}")


def _drain(world: CollectorsWorld) -> list[str]:
    for nomad in world.nomads:
        nomad.rest()
    deadline = time.monotonic() + DRAIN_S
    waiting = list(world.nomads)
    while waiting and time.monotonic() < deadline:
        world.revive()
        waiting = [nomad for nomad in waiting if not nomad.rested(0.1)]
    return [f"{nomad.name}: its last batch was not taken within {DRAIN_S:.0f} s" for nomad in waiting]


def _compare(world: CollectorsWorld, faults: list[str]) -> Result:
    evaluator = world.ask(load_evaluator)
    books = world.ask(_read)
    for nomad in world.nomads:
        faults += nomad.faults[:5]
        faults += list(judge(evaluator, nomad, books[nomad.name]))
    fired = [
        change for history in books[RACER].histories.values() for change in history if change[2] == "firing"
    ]
    faults += [f"{RACER}: nothing was wrong there, and it fired: {change}" for change in fired]
    deadlocks = world.deadlocks()
    faults += [f"PostgreSQL broke {deadlocks} deadlocks"] if deadlocks else []
    return Result(
        cycles=0,
        seed=0,
        acknowledged=sum(len(nomad.acknowledged) for nomad in world.nomads),
        tries=sum(nomad.tries for nomad in world.nomads),
        twice=world.balancer.twice,
        answers_lost=world.balancer.lost,
        transitions=sum(len(h) for book in books.values() for h in book.histories.values()),
        layouts=sum(len(nomad.layouts) for nomad in world.nomads),
        races=0,
        deadlocks=deadlocks,
        kills={},
        seconds=0.0,
        faults=faults,
    )


def judge(evaluator: Evaluator, nomad: Nomad, books: Books) -> Iterator[str]:
    """Everything that is wrong with one host's books. Pure."""
    wanted = [(frame.time_ms, frame.layout, frame.values) for frame in nomad.acknowledged]
    found = Counter(books.stored)
    lost = [frame for frame in wanted if frame not in found]
    doubled = [frame for frame, times in found.items() if times > 1]
    yield from (f"lost: {nomad.name}: frame {time_ms} of layout {d.hex()[:8]}" for time_ms, d, _ in lost[:5])
    yield from (f"doubled: {nomad.name}: frame {frame[0]}" for frame in doubled[:5])
    unreadable = books.rows - len(books.stored)
    if unreadable:
        yield f"unreadable: {nomad.name}: {unreadable} frames in layouts that nobody can read"
    expected = single(evaluator, books.scope, nomad.acknowledged, nomad.layouts)
    for story in sorted(expected.keys() | books.histories.keys()):
        right, found_here = expected.get(story), books.histories.get(story)
        if right != found_here:
            yield f"disagree: {nomad.name} {story}: {_difference(right, found_here)}"


def single(
    evaluator: Evaluator,
    scope: HostScope,
    frames: Sequence[Acknowledged],
    layouts: Mapping[bytes, wire_layout.Layout],
) -> dict[Story, History]:
    """What one evaluator concludes that sees all of a host's frames once, in order."""
    inputs = [FrameInput(f.layout, layouts[f.layout], at(f.time_ms), f.values) for f in frames]
    state = HostState(scope.tenant_id, scope.host_id)
    outcome = evaluate(evaluator, scope, state, inputs, utcnow())
    histories: dict[Story, History] = {}
    for alert in outcome.alerts:
        change = alert.change
        row = (change.at_ms, change.from_state, change.to_state, change.priority, change.value, change.reason)
        histories.setdefault((alert.rule_id, alert.instance), []).append(row)
    return histories


def _difference(expected: History | None, found: History | None) -> str:
    pairs = zip([*(expected or []), None], [*(found or []), None], strict=False)
    first = next(((n, e, f) for n, (e, f) in enumerate(pairs) if e != f), None)
    return f"transition {first[0]} should be {first[1]}, is {first[2]}" if first else "one of them goes on"


async def _read(conn: Connection) -> dict[str, Books]:
    books = {}
    for found in await (await conn.execute(_SCOPES.encode())).fetchall():
        scope = HostScope(*found)
        row = {"tenant_id": scope.tenant_id, "host_id": scope.host_id}
        rows = await (await conn.execute(_ROWS.encode(), row)).fetchone()
        assert rows is not None
        changes = await (await conn.execute(_HISTORY.encode(), row)).fetchall()
        histories: dict[Story, History] = {}
        for rule_id, instance, *change in changes:
            histories.setdefault((rule_id, instance), []).append(tuple(change))
        books[scope.host_name] = Books(scope, await _frames(conn, scope), rows[0], histories)
    return books


async def _frames(conn: Connection, scope: HostScope) -> list[tuple[int, bytes, tuple[float | None, ...]]]:
    """The way a replay reads them; one in a layout that is not noted is passed over, and found missing."""
    end = utcnow() + timedelta(days=1)
    async with conn.transaction():
        frames = frames_between(conn, scope.tenant_id, scope.host_id, end - timedelta(days=10), end)
        found = []
        try:
            async for frame in frames:
                time_ms = round(frame.at.timestamp() * 1000)
                found.append((time_ms, frame.layout_digest, tuple(frame.values)))
        except KeyError:
            pass
        return found


_SCOPES = """
SELECT t.tenant_id, t.key, d.deployment_id, d.key, h.host_id, h.name
FROM host h JOIN deployment d USING (tenant_id, deployment_id) JOIN tenant t ON t.tenant_id = h.tenant_id
"""
_ROWS = "SELECT count(*) FROM frame WHERE tenant_id = %(tenant_id)s AND host_id = %(host_id)s"
_HISTORY = """
SELECT a.rule_id, a.instance, round(extract(epoch FROM x.at) * 1000)::bigint, x.from_state, x.to_state,
       x.priority, x.value, x.reason
FROM alert_transition x JOIN alert a USING (tenant_id, alert_id)
WHERE a.tenant_id = %(tenant_id)s AND a.host_id = %(host_id)s
ORDER BY a.alert_id, x.seq
"""
