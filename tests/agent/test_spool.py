"""The spool: nothing leaves without a receipt, nothing is numbered twice, nothing is dropped uncounted."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent.lock import Locked
from agent.spool import FILE, Spool
from agent.store import _PRAGMAS, Store, Stored
from tests.agent.collector import AGENT
from tests.agent.kit import DIGEST, LAYOUT, WoundClock, drain, open_spool
from wire.batch import Event, Frame, FrameBatch, Severity
from wire.validate import decode_batch

EVENT = Event(1_760_000_000_000, "ucx-agent", "agent.start", Severity.INFO, "hello")


def frames_of(batch: Stored) -> list[Frame]:
    content = decode_batch(batch.body)
    assert isinstance(content, FrameBatch)
    return content.frames


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


# ---- disks that fail ----------------------------------------------------------------------------------


def test_a_full_disk_sends_new_readings_through_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alert "disk full" itself must get out."""
    clock = WoundClock()
    spool = open_spool(tmp_path, clock)
    spool.put_frames([clock.frame()], 0)

    def full(*_: Any) -> None:
        fault = sqlite3.OperationalError("database or disk is full")
        fault.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise fault

    assert spool._disk is not None
    monkeypatch.setattr(spool._disk, "put_frames", full)
    monkeypatch.setattr(spool._disk, "remove", full)
    frame = clock.frame()
    spool.put_frames([frame], 0)
    newest, oldest = spool.newest("frames"), spool.oldest("frames")
    assert newest is not None
    assert oldest is not None
    assert frames_of(newest) == [frame]
    assert newest.epoch != oldest.epoch
    spool.delivered(newest)
    spool.delivered(oldest)
    assert spool.oldest("frames") is None, "delivered, although the disk does not let go of it"
    monkeypatch.undo()
    spool.put_frames([clock.frame()], 0)
    assert len(drain(spool)) == 1
    spool.close()
    spool = open_spool(tmp_path, clock)
    assert spool.total().batches == 0
    spool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a small file system")
def test_a_really_full_disk(tmp_path: Path) -> None:
    """A quota of 200 KB on the file (RLIMIT_FSIZE), in a process of its own."""
    program = f"""
import resource, signal, sys
from pathlib import Path
from tests.agent.kit import WoundClock, open_spool, drain
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
clock = WoundClock()
spool = open_spool(Path({str(tmp_path)!r}), clock)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
for _ in range(400):
    spool.put_frames([clock.frame(*[0.123] * 150)], 0)
total, dropped = spool.total(), spool.counters["frames_dropped"]
assert total.batches + dropped == 400, (total, dropped)
assert drain(spool)[0].items == 1
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.put_frames([clock.frame()], 0)
assert len(drain(spool)) == 1
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, cwd=Path(__file__).parents[2])


def test_an_unusable_directory_means_memory_only(tmp_path: Path) -> None:
    """The agent goes on, and says so."""
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    clock = WoundClock()
    spool = open_spool(blocked, clock)
    spool.put_frames([clock.frame()], 0)
    assert "memory only" in spool.take_incidents()[0].message
    assert spool.layout(DIGEST) == LAYOUT
    assert len(drain(spool)) == 1
    spool.close()


# ---- damage -------------------------------------------------------------------------------------------


def test_bytes_that_changed_under_their_digest_are_never_sent(tmp_path: Path) -> None:
    """The row is dropped and counted."""
    clock = WoundClock()
    spool = open_spool(tmp_path, clock)
    spool.put_frames([clock.frame()], 0)
    spool.put_frames([clock.frame()], 0)
    spool.close()
    with sqlite3.connect(tmp_path / FILE) as db:
        db.execute("UPDATE batch SET body = zeroblob(length(body)) WHERE id = 1")
    db.close()
    spool = open_spool(tmp_path, clock)
    assert [batch.id for batch in drain(spool)] == [2]
    assert spool.counters["frames_dropped"] == 1
    spool.close()


def test_a_file_that_is_no_database_is_set_aside_and_reported(tmp_path: Path) -> None:
    """The new spool works at once; the damaged file is kept for a person."""
    (tmp_path / FILE).write_bytes(b"this is no database" * 1000)
    clock = WoundClock()
    spool = open_spool(tmp_path, clock)
    assert spool.take_incidents()[0].event_id == "spool.corrupt"
    assert len(list(tmp_path.glob(f"{FILE}.corrupt-*"))) == 1
    spool.put_frames([clock.frame()], 0)
    assert len(drain(spool)) == 1
    spool.close()


CORRUPTIONS = int(os.environ.get("UCX_TEST_CORRUPTIONS", "60"))
"""By hand: UCX_TEST_CORRUPTIONS=1000 python -m pytest tests/agent/test_spool.py -k corruption"""


def test_random_corruption_never_stops_the_spool_nor_changes_what_it_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes overwritten or cut off anywhere: whatever is still given out is exactly what was put in, under
    its own number, and new readings are taken.

    Broken twin: a check at opening that leaves the indexes out (quick_check) finds no damage in 2 of 1,000,
    and what the index has lost is never given out."""
    monkeypatch.setattr("agent.store._PRAGMAS", (*_PRAGMAS, "synchronous=OFF"))  # durability is tested apart
    chance = random.Random(4711)
    sound, put = sound_spool(tmp_path, chance)
    for attempt in range(CORRUPTIONS):
        directory = tmp_path / str(attempt)
        directory.mkdir()
        (directory / FILE).write_bytes(damaged(sound, chance))
        clock = WoundClock()
        spool = open_spool(directory, clock)
        fresh = clock.frame(9.5)
        spool.put_frames([fresh], 0)
        given = {(batch.epoch, batch.seq): batch.body for batch in drain(spool)}
        new = [body for key, body in given.items() if key not in put]
        assert all(given[key] == put[key] for key in given if key in put)
        assert len(new) == 1
        assert decode_batch(new[0]).frames == [fresh]  # type: ignore[union-attr]
        spool.close()
        shutil.rmtree(directory)


def sound_spool(directory: Path, chance: random.Random) -> tuple[bytes, dict[tuple[int, int], bytes]]:
    """The file of a spool with 40 batches, and what was put in, by number."""
    clock = WoundClock()
    spool = open_spool(directory, clock)
    for _ in range(40):
        spool.put_frames([clock.frame(*[chance.random() for _ in range(30)])], 0)
    assert spool._disk is not None
    put = {(batch.epoch, batch.seq): batch.body for batch in spool._disk.all()}
    spool.close()
    return (directory / FILE).read_bytes(), put


def damaged(sound: bytes, chance: random.Random) -> bytes:
    """A few stretches overwritten; sometimes the end cut off."""
    data = bytearray(sound)
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    for _ in range(chance.randrange(1, 6)):
        start = chance.randrange(max(1, len(data)))
        length = chance.choice((1, 8, 64, 4096))
        data[start : start + length] = chance.randbytes(len(data[start : start + length]))
    return bytes(data)


def test_intact_batches_are_saved_from_a_damaged_file(tmp_path: Path) -> None:
    """One broken page costs the batches on it, not the spool."""
    clock = WoundClock()
    spool = open_spool(tmp_path, clock)
    for _ in range(60):
        spool.put_frames([clock.frame(*[1.25] * 100)], 0)
    spool.counters["frames_dropped"] = 3
    assert spool._disk is not None
    spool._disk.set(frames_dropped="3")
    spool.close()
    path = tmp_path / FILE
    data = bytearray(path.read_bytes())
    place = data.find(b"\xa6frames", len(data) // 2)
    data[place // 4096 * 4096 : place // 4096 * 4096 + 4096] = b"\xff" * 4096
    path.write_bytes(bytes(data))
    spool = open_spool(tmp_path, clock)
    assert spool.take_incidents()[0].event_id == "spool.corrupt"
    assert 50 <= spool.total().batches < 60
    assert spool.counters["frames_dropped"] == 3
    assert spool.layout(DIGEST) == LAYOUT
    spool.close()


def test_what_is_remembered_of_the_clock_is_saved_with_the_batches_that_need_it(tmp_path: Path) -> None:
    """Stamps of waiting batches are placed by it; positions in logs are saved, too."""
    clock = WoundClock()
    spool = open_spool(tmp_path, clock)
    spool.remember(correction_ms="86400000", stepped_ms="-3600000", boot_id="b")
    assert spool.put_marked([EVENT], 0, "app", "7:9")
    spool._after_damage(lambda disk: None, sqlite3.DatabaseError("damaged"))
    spool.close()
    spool = open_spool(tmp_path, clock)
    said = [spool.get(name) for name in ("correction_ms", "stepped_ms", "boot_id")]
    assert (said, spool.bookmark("app")) == (["86400000", "-3600000", "b"], "7:9")
    spool.close()


def test_any_number_of_batches_can_be_passed_over(tmp_path: Path) -> None:
    """Delivered from a disk that cannot be written, they stay in the file and must not be sent again.

    Broken twin: one SQL parameter for each fails above 32,766, is taken for damage, and the spool is lost."""
    spool = open_spool(tmp_path, WoundClock())
    spool.put_frames([WoundClock().frame()], 0)
    batch = spool.newest("frames")
    assert batch is not None
    assert spool.newest("frames", range(batch.id + 1, 50_000)) == batch
    assert spool.oldest("frames", range(50_000)) is None
    assert not spool.take_incidents()
    spool.close()


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
