"""The spool: nothing leaves without a receipt, nothing is numbered twice, nothing is dropped uncounted."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.lock import Locked
from agent.spool import FILE, Spool
from agent.store import Store
from tests.agent.collector import AGENT
from tests.agent.kit import EVENT, WoundClock, drain, frames_of, open_spool
from wire.batch import Frame


def test_batches_survive_a_restart_and_numbers_go_on(tmp_path: Path) -> None:
    """Closing and opening changes neither what waits nor what comes next."""
    clock = WoundClock()
    spool = open_spool(tmp_path, clock)
    spool.put_frames([clock.frame()], 0)
    first = spool.newest("frames")
    spool.close()
    spool = open_spool(tmp_path, clock)
    assert spool.newest("frames") == first
    spool.put_frames([clock.frame()], 0)
    second = spool.newest("frames")
    assert first is not None
    assert second is not None
    assert (second.epoch, second.seq) == (first.epoch, first.seq + 1)
    spool.close()


def test_a_number_is_not_reused_after_its_batch_was_delivered(tmp_path: Path) -> None:
    """The ledger remembers the number: other bytes under it would be refused."""
    clock = WoundClock()
    spool = open_spool(tmp_path, clock)
    spool.put_frames([clock.frame()], 0)
    [first] = drain(spool)
    spool.close()
    spool = open_spool(tmp_path, clock)
    spool.put_frames([clock.frame()], 0)
    [second] = drain(spool)
    assert second.seq == first.seq + 1
    spool.close()


def test_each_new_spool_has_its_own_epoch(tmp_path: Path) -> None:
    """A spool that was lost never collides with its successor in the ledger."""
    epochs = set()
    for _ in range(5):
        spool = Spool(tmp_path, AGENT, max_bytes=1 << 20, max_age_s=1e6, now_ms=WoundClock())
        spool.put_events([EVENT], 0)
        [batch] = drain(spool)
        epochs.add(batch.epoch)
        spool.close()
        for path in tmp_path.iterdir():
            path.unlink()
    assert len(epochs) == 5


def test_a_second_agent_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    """Two processes would number batches twice."""
    spool = open_spool(tmp_path, WoundClock())
    with pytest.raises(Locked, match="another ucx-agent"):
        open_spool(tmp_path, WoundClock())
    spool.close()
    open_spool(tmp_path, WoundClock()).close()


def test_a_full_spool_drops_the_oldest_frames_counts_them_and_keeps_events(tmp_path: Path) -> None:
    """The count survives a restart; the loss is told as an incident."""
    clock = WoundClock()
    spool = open_spool(tmp_path, clock, max_bytes=2000)
    spool.put_events([EVENT], 0)
    sent = [clock.frame(*[0.1] * 20) for _ in range(40)]
    for frame in sent:
        spool.put_frames([frame], 0)
    assert spool.total().bytes <= 2000
    assert [i.event_id for i in spool.take_incidents()] == ["spool.dropped"]
    dropped = spool.counters["frames_dropped"]
    spool.close()
    spool = open_spool(tmp_path, clock, max_bytes=2000)
    assert spool.counters["frames_dropped"] == dropped
    kept = drain(spool)
    assert kept[0].kind == "events"
    assert [f for batch in kept[1:] for f in frames_of(batch)] == sent[dropped:]
    spool.close()


def test_events_are_dropped_only_when_no_frames_are_left(tmp_path: Path) -> None:
    """Events are kept longest, but the bound holds."""
    clock = WoundClock()
    spool = open_spool(tmp_path, clock, max_bytes=600)
    spool.put_frames([clock.frame()], 0)
    for _ in range(10):
        spool.put_events([EVENT], 0)
    assert spool.total().bytes <= 600
    assert spool.counters["frames_dropped"] == 1
    assert spool.counters["events_dropped"] > 0
    spool.close()


def test_what_is_too_old_is_dropped_and_counted(tmp_path: Path) -> None:
    """The collector would refuse it anyway."""
    clock = WoundClock()
    spool = open_spool(tmp_path, clock, max_age_s=3600)
    spool.put_frames([clock.frame(), clock.frame()], 0)
    clock.ms += 3_700_000
    spool.put_frames([clock.frame()], 0)
    spool.expire(clock.ms)
    assert spool.counters["frames_dropped"] == 2
    assert spool.total().batches == 1
    spool.close()


def test_renumbering_keeps_the_content_and_changes_the_epoch(tmp_path: Path) -> None:
    """Only this batch and later ones get new numbers: others may be known under their old ones."""
    clock = WoundClock()
    spool = open_spool(tmp_path, clock)
    for _ in range(2):
        spool.put_frames([clock.frame()], 30_000)
    first, other = spool.oldest("frames"), spool.newest("frames")
    assert first is not None
    assert other is not None
    spool.renumber(first, "Known with other bytes.")
    fresh = spool.newest("frames")
    assert fresh is not None
    assert frames_of(fresh) == frames_of(first)
    assert fresh.epoch != first.epoch
    assert fresh.correction_ms == 30_000
    assert spool.oldest("frames") == other
    assert spool.total().batches == 2
    spool.close()


def test_readings_of_another_identity_are_set_aside(tmp_path: Path) -> None:
    """After enrolment anew (perhaps for another customer) old readings must not go out."""
    spool = open_spool(tmp_path, WoundClock())
    spool.put_events([EVENT], 0)
    spool.close()
    other = Spool(tmp_path, "ff" * 16, max_bytes=1 << 20, max_age_s=1e6, now_ms=WoundClock())
    assert other.oldest("events") is None
    assert "earlier identity" in other.take_incidents()[0].message
    other.close()


# ---- killed -------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from tests.agent.kit import WoundClock, open_spool
clock = WoundClock()
spool = open_spool(Path(sys.argv[1]), clock)
print("open", flush=True)
while True:
    spool.put_frames([clock.frame(0.5, None)], 0)
    batch = spool.newest("frames")
    print("put", batch.epoch, batch.seq, batch.digest, flush=True)
    if batch.seq % 3 == 0:
        batch = spool.oldest("frames")
        print("forget", batch.epoch, batch.seq, batch.digest, flush=True)
        spool.delivered(batch)
"""


@pytest.mark.kill
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_sigkill_loses_nothing_that_was_put_and_reuses_no_number(tmp_path: Path) -> None:
    """Six times: a process writes until killed at a random moment; what it said is there."""
    chance = random.Random(1)
    waiting: dict[tuple[str, str], str] = {}
    ever: set[tuple[str, str]] = set()
    for _ in range(6):
        said = run_until_killed(tmp_path, 20 + chance.randrange(60))
        for word, epoch, seq, digest in said:
            if word == "put":
                assert (epoch, seq) not in ever, "a number was given twice"
                ever.add((epoch, seq))
                waiting[epoch, seq] = digest
            else:
                waiting.pop((epoch, seq), None)
    spool = open_spool(tmp_path, WoundClock())
    assert not spool.take_incidents()
    found = {(str(b.epoch), str(b.seq)): b.digest for b in drain(spool)}
    assert waiting.items() <= found.items()
    spool.close()


def run_until_killed(directory: Path, lines: int) -> list[list[str]]:
    """What the writer said on complete lines before it was killed."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(directory)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONPATH": "."},
    ) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(lines)]
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.readlines()
    return [line.split() for line in said if line.endswith("\n") and line != "open\n"]


# ---- a model ------------------------------------------------------------------------------------------


class SpoolModel(RuleBasedStateMachine):
    """Whatever happens in whatever order: what was put and not acknowledged is there, in order, or counted.

    Broken twin: with ``remove`` in Spool.renumber outside the transaction, or seq taken from max(seq), this
    fails within seconds.
    """

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.clock = WoundClock()
        self.spool = self.open()
        self.waiting: list[Frame] = []
        self.numbers: set[tuple[int, int]] = set()
        self.put = 0
        self.acknowledged = 0

    def open(self) -> Spool:
        return open_spool(Path(self.directory.name), self.clock, max_bytes=3000, max_age_s=3600)

    def teardown(self) -> None:
        self.spool.close()
        self.directory.cleanup()

    @rule(size=st.integers(1, 60))
    def put_frame(self, size: int) -> None:
        frame = self.clock.frame(*[0.25] * size)
        self.spool.put_frames([frame], 0)
        self.waiting.append(frame)
        self.put += 1
        batch = self.spool.newest("frames")
        if batch is not None:
            assert (batch.epoch, batch.seq) not in self.numbers
            self.numbers.add((batch.epoch, batch.seq))

    @rule(newest=st.booleans())
    def acknowledge(self, newest: bool) -> None:
        batch = self.spool.newest("frames") if newest else self.spool.oldest("frames")
        if batch is not None:
            self.spool.delivered(batch)
            self.waiting = [frame for frame in self.waiting if frame not in frames_of(batch)]
            self.acknowledged += 1

    @rule()
    def renumber(self) -> None:
        batch = self.spool.oldest("frames")
        if batch is not None:
            self.spool.renumber(batch, "Known.")
            fresh = self.spool.newest("frames")
            assert fresh is not None
            self.numbers.add((fresh.epoch, fresh.seq))

    @rule()
    def restart(self) -> None:
        self.spool.close()
        self.spool = self.open()

    @precondition(lambda self: self.waiting)
    @rule()
    def time_passes(self) -> None:
        self.clock.ms += 1_900_000
        self.spool.expire(self.clock.ms)

    @invariant()
    def everything_is_there_or_counted(self) -> None:
        assert self.spool._disk is not None
        held = [frame for batch in self.spool._disk.all() for frame in frames_of(batch)]
        assert all(frame in self.waiting for frame in held)
        assert len(held) + self.spool.counters["frames_dropped"] + self.acknowledged == self.put
        assert self.spool.total() == self.spool._disk._count()


SpoolModel.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSpoolModel = SpoolModel.TestCase


def test_the_file_shrinks_again_after_a_long_outage(tmp_path: Path) -> None:
    """A drained spool does not keep its largest size for ever."""
    store = Store(tmp_path / FILE, AGENT)
    clock = WoundClock()
    for _ in range(80):
        store.put_frames([clock.frame(*[0.123] * 200) for _ in range(30)], 0, 0)
    largest = (tmp_path / FILE).stat().st_size
    for batch in list(store.all()):
        store.remove([batch.id])
    store.close()
    assert (tmp_path / FILE).stat().st_size < largest / 1.5
