"""The spool on disks that fail and over files that are damaged: it goes on, and sends nothing that was not
put in."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.spool import FILE
from agent.store import _PRAGMAS
from tests.agent.kit import DIGEST, EVENT, LAYOUT, WoundClock, drain, frames_of, open_spool
from wire.batch import FrameBatch
from wire.validate import decode_batch

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
"""By hand: UCX_TEST_CORRUPTIONS=1000 python -m pytest tests/agent/test_spool_damage.py -k corruption"""


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
        batch = decode_batch(new[0])
        assert isinstance(batch, FrameBatch)
        assert batch.frames == [fresh]
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


@pytest.mark.parametrize("died_at", [*range(14), 40])
def test_killed_while_a_damaged_file_is_saved_loses_nothing(tmp_path: Path, died_at: int) -> None:
    """At each of the renames, and between any two batches: the next start goes on with the saving.

    Broken twin: a file named as done before it is (``SAVING = CORRUPT``) loses what was not saved yet."""
    program = f"""
import os, sqlite3
from pathlib import Path
from agent.spool import FILE
from agent.store import Store
from tests.agent.kit import WoundClock, open_spool
left = {died_at}
def mortal(act):
    def wrapped(*given):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return act(*given)
    return wrapped
state, clock = Path({str(tmp_path)!r}), WoundClock()
spool = open_spool(state, clock)
keeps_the_log = sqlite3.connect(state / FILE)
keeps_the_log.execute("SELECT count(*) FROM batch").fetchall()
for _ in range(60):
    spool.put_frames([clock.frame(0.5)], 0)
Path.replace = mortal(Path.replace)
Store.adopt = mortal(Store.adopt)
spool._after_damage(lambda disk: None, sqlite3.DatabaseError("damaged"))
"""
    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[2])
    assert done.returncode == 9
    spool = open_spool(tmp_path, WoundClock())
    assert [batch.seq for batch in drain(spool)] == list(range(1, 61))
    assert not list(tmp_path.glob("*.saving-*"))
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
