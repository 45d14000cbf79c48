"""Three days without a collector at default settings, and the drain after it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from agent.config import Config
from agent.spool import Spool
from agent.store import _PRAGMAS
from tests.agent.collector import AGENT, Ledger
from tests.agent.kit import NOW_MS
from wire import layout as wire_layout
from wire.batch import Frame
from wire.layout import Layout, Series

SERIES = 120
"""Of a larger host: two disks, four volumes, five processes, ten services."""


def test_three_days_fit_and_drain_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading each 15 s for 72 h, kept as the agent keeps them: well within 150 MB on disk, nothing given
    up; afterwards everything is delivered once, and the disk is given back."""
    monkeypatch.setattr(
        "agent.store._PRAGMAS", (*_PRAGMAS, "synchronous=OFF")
    )  # durability has its own tests
    config, now = Config(), [NOW_MS]
    chance = random.Random(7)
    spool = Spool(
        tmp_path,
        AGENT,
        max_bytes=int(config.spool_mb * 2**20),
        max_age_s=config.spool_days * 86_400,
        now_ms=lambda: now[0],
    )
    body = wire_layout.encode(Layout(1, 15.0, tuple(Series("a.b", {"n": str(n)}) for n in range(SERIES))))
    digest = wire_layout.digest(body)
    spool.put_layout(digest, body)
    ticks = int(config.ship_every / 15) + 1
    batches = int(72 * 3600 / (15 * ticks))
    for _ in range(batches):
        frames = []
        for _ in range(ticks):
            now[0] += 15_000
            frames.append(Frame(digest, now[0], [chance.random() for _ in range(SERIES)]))
        spool.put_frames(frames, 0)
    spool.expire(now[0])
    on_disk = sum(path.stat().st_size for path in tmp_path.iterdir())
    assert on_disk < 150 * 10**6
    assert spool.counters["frames_dropped"] == 0
    ledger = Ledger()
    ledger.layouts[digest] = Layout(1, 15.0, tuple(Series("a.b", {"n": str(n)}) for n in range(SERIES)))
    while (batch := spool.newest("frames")) is not None:
        ledger.receive(batch.body)
        spool.delivered(batch)
    assert len(ledger.keys) == batches
    assert len({time for _, time, _ in ledger.frames}) == batches * ticks
    spool.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < on_disk / 2
    print(f"{on_disk / 1e6:.0f} MB on disk after 72 h of {SERIES} series")
