"""Disks that are full, read-only or hang, for real: the agent goes on and says so."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.collector import Collector, Ledger
from tests.agent.kit import WoundClock, drain, open_spool
from tests.agent.test_main import enrol, events, start, wait_for
from wire.batch import EventBatch

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="mounts, FIFOs and signals of Linux")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte; skipped where we may not mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as fault:
        pytest.skip(f"cannot mount a small file system: {fault}")
    if done.returncode:
        pytest.skip(f"cannot mount a small file system: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


@linux_only
def test_a_spool_on_a_full_disk_goes_on_in_memory_and_comes_back(small_disk: Path) -> None:
    """Nothing raises; what was taken in is given out, once; when there is room again it is used."""
    clock = WoundClock()
    spool = open_spool(small_disk, clock, max_bytes=1 << 24)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * 600_000)
    sent = [clock.frame(*[0.1 * n for n in range(150)]) for _ in range(400)]
    for frame in sent:
        spool.put_frames([frame], 0)
    assert spool._memory is not None, "the disk is full by now"
    assert spool.counters["frames_dropped"] == 0
    filler.unlink()
    spool.put_frames([clock.frame()], 0)
    given = drain(spool)
    assert len(given) == len(sent) + 1
    assert len({(batch.epoch, batch.seq) for batch in given}) == len(given)
    assert spool.total().batches == 0
    spool.close()


@linux_only
def test_an_agent_that_starts_on_a_read_only_disk_measures_and_tells(small_disk: Path) -> None:
    """Its readings go through memory; the administrator is told by an event."""
    with Collector(ledger=Ledger()) as collector:
        enrol(small_disk, collector)
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        try:
            with start(small_disk) as running:
                wait_for(lambda: len(collector.ledger.frames) >= 3)
                wait_for(lambda: "spool.dropped" in events(collector.ledger))
                running.terminate()
                assert running.wait(20) == 0
        finally:
            subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)


@linux_only
def test_files_that_never_open_cost_their_own_checks_only(tmp_path: Path) -> None:
    """A FIFO that nobody writes hangs in the kernel like a dead NFS server: the check of it is cut off and
    told as failed, everything else is measured on, and the agent still stops when it is asked to."""
    fifo, state = tmp_path / "fifo", tmp_path / "state"
    os.mkfifo(fifo)
    config = tmp_path / "agent.yaml"
    config.write_text(f"facts_file: {fifo}\n")
    with Collector(ledger=Ledger()) as collector:
        enrol(state, collector)
        with start(state, "--config", str(config)) as running:
            wait_for(lambda: "check.failed" in events(collector.ledger))
            before = len(collector.ledger.frames)
            wait_for(lambda: len(collector.ledger.frames) > before + 5)
            running.terminate()
            assert running.wait(20) == 0
        failed = [
            event
            for batch in collector.ledger.batches
            if isinstance(batch, EventBatch)
            for event in batch.events
            if event.event_id == "check.failed"
        ]
    assert {event.attributes["ucx.check"] for event in failed} == {"facts"}
