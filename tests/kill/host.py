"""A scripted host: the agent's real spool, shipper, tokens and transport around readings from a script.

    python -m tests.kill.host --state-dir DIR --collector URL --script FILE --journal FILE

Every ``TICK_S`` it spools one frame of ``INSTANCES`` values; every fifth tick one event. An instance reads 1
while the script names it, else 0; ``blip`` reads 1 for one tick in ten, which is never long enough to matter.

The journal is told the truth in an order that a kill cannot turn into a lie:

    spooled   after the batch is on disk: from now on it must arrive, once
    stored    after the receipt, *before* the spool forgets the batch: the collector said that it has it
"""

from __future__ import annotations

import argparse
import json
import logging
import threading
import time
from pathlib import Path

from agent.clock import Timekeeper
from agent.identity import load_identity, load_key
from agent.shipper import Shipper
from agent.spool import Spool
from agent.store import Stored
from agent.token import TokenMaker
from agent.transport import Transport
from tests.kill.oracle import Journal
from wire import layout as wire_layout
from wire.batch import Event, Frame, Severity
from wire.clock import utcnow
from wire.layout import Layout, Series
from wire.validate import decode_batch

TICK_S = 0.2
INSTANCES = 100
METRIC = "test.kill.load"
BLIP = "blip"
_BLIP_EVERY = 10


class WitnessedSpool(Spool):
    """The real spool, which tells the journal before it forgets."""

    journal: Journal

    def delivered(self, batch: Stored) -> None:
        self.journal.append(kind="stored", **contents(batch.body))
        super().delivered(batch)


def contents(body: bytes) -> dict[str, object]:
    """What is in a batch: frame times and event ids."""
    batch = decode_batch(body)
    frames = [frame.time_ms for frame in getattr(batch, "frames", ())]
    events = [event.attributes["uid"] for event in getattr(batch, "events", ()) if "uid" in event.attributes]
    return {"frames": frames, "events": events}


def layout_of(interval_s: float, instances: int) -> Layout:
    """One series per instance, and the blip."""
    names = [*(f"i{number:03}" for number in range(instances)), BLIP]
    series = tuple(Series(METRIC, {"instance": name}) for name in names)
    return Layout(wire_layout.VERSION, interval_s, series)


def values_at(tick: int, breached: set[str]) -> list[float | None]:
    """The readings of one tick, in layout order."""
    readings: list[float | None] = [float(f"i{number:03}" in breached) for number in range(INSTANCES)]
    return [*readings, float(tick % _BLIP_EVERY == 0)]


def main() -> None:
    """Measure and deliver until killed."""
    arguments = _arguments()
    logging.basicConfig(level=logging.WARNING)
    identity, key = load_identity(arguments.state_dir), load_key(arguments.state_dir)
    timekeeper = Timekeeper(utcnow)
    spool = WitnessedSpool(
        arguments.state_dir,
        identity.agent_id,
        max_bytes=64 << 20,
        max_age_s=86_400,
        now_ms=timekeeper.stamp_ms,
    )
    spool.journal = Journal(arguments.journal)
    shipper = Shipper(
        spool,
        Transport(arguments.collector, total_s=5.0),
        TokenMaker(key, identity.agent_id),
        timekeeper,
        longest_backoff_s=0.5,
    )
    threading.Thread(target=shipper.run, daemon=True).start()
    _measure(spool, shipper, arguments.script)


def _measure(spool: WitnessedSpool, shipper: Shipper, script: Path) -> None:
    body = wire_layout.encode(layout_of(TICK_S, INSTANCES))
    digest = wire_layout.digest(body)
    spool.put_layout(digest, body)
    while True:
        now_ms = round(utcnow().timestamp() * 1000)
        tick = now_ms // round(TICK_S * 1000)
        breached, quiet = read_script(script)
        if not quiet:
            _spool_tick(spool, digest, now_ms, tick, breached)
            shipper.wake()
        time.sleep(TICK_S - (utcnow().timestamp() % TICK_S))


def _spool_tick(spool: WitnessedSpool, digest: bytes, now_ms: int, tick: int, breached: set[str]) -> None:
    spool.put_frames([Frame(digest, now_ms, values_at(tick, breached))], 0)
    spool.journal.append(kind="spooled", frames=[now_ms], events=[])
    if tick % 5 == 0:
        uid = f"{spool.get('epoch')}-{now_ms}"
        spool.put_events([Event(now_ms, "kill", "tick", Severity.INFO, "a tick", {"uid": uid})], 0)
        spool.journal.append(kind="spooled", frames=[], events=[uid])


def read_script(path: Path) -> tuple[set[str], bool]:
    """The instances in breach, and whether to be quiet (deliver what is spooled, measure nothing new)."""
    script = json.loads(path.read_text(encoding="utf-8"))
    return set(script["breach"]), bool(script["quiet"])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.kill.host")
    for name in ("--state-dir", "--script", "--journal"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--collector", required=True)
    return parser.parse_args()


if __name__ == "__main__":
    main()
