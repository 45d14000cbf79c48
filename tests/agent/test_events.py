"""Logs are followed so that nothing is missed and nothing comes twice, and no personal data gets out."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.checks.events import EventsCheck
from agent.clock import Timekeeper
from agent.events import Chunk, Feed, Record
from agent.events.journal import JournalConfig, JournalFeed, to_record
from agent.events.limit import admit
from agent.events.logfile import FileFeed, LineRule, LogFile
from agent.spool import Spool
from tests.agent.collector import AGENT
from tests.agent.kit import WoundClock, drain, open_spool
from wire.batch import Event, EventBatch, Severity
from wire.clock import utcnow
from wire.validate import decode_batch

REMOTE = Path("/lib/systemd/systemd-journal-remote")
ANY = (LineRule(re.compile(""), "line", Severity.ERROR),)


def follow(feed: Feed, bookmark: str = "", most: int = 80) -> tuple[list[str], str]:
    """Everything that there is to read now."""
    found: list[str] = []
    while True:
        chunk = feed.read(bookmark, most)
        assert len(chunk.records) <= most
        found += [record.message for record in chunk.records]
        bookmark = chunk.bookmark
        if not chunk.more:
            return found, bookmark


def log_at(path: Path, **more: object) -> FileFeed:
    values = {"rules": ANY, **more}
    return FileFeed(LogFile("app", path, **values))  # type: ignore[arg-type]


# ---- files --------------------------------------------------------------------------------------------


def test_a_log_is_read_from_now_on_line_by_line(tmp_path: Path) -> None:
    """What was there before is not sent; a line is sent when its end is written."""
    path = tmp_path / "app.log"
    path.write_text("old\nhalf")
    feed = log_at(path)
    found, mark = follow(feed)
    assert found == []
    with path.open("a") as file:
        file.write(" of a line\nnext")
    found, mark = follow(feed, mark)
    assert found == ["half of a line"]
    with path.open("a") as file:
        file.write("\r\n\n")
    found, mark = follow(feed, mark)
    assert found == ["next", ""]
    assert follow(feed, mark) == ([], mark)


def test_rotation_loses_nothing(tmp_path: Path) -> None:
    """Renamed while lines were still to be read: first the rest of the old file, then the new one; also when
    the agent was not running meanwhile."""
    path = tmp_path / "app.log"
    path.write_text("")
    _, mark = follow(log_at(path))
    path.write_text("one\ntwo\nthree without end")
    path.rename(tmp_path / "app.log.1")
    path.write_text("four\n")
    assert follow(log_at(path), mark, most=1)[0] == ["one", "two", "three without end", "four"]


def test_a_log_that_is_not_there_yet_is_read_from_its_beginning(tmp_path: Path) -> None:
    """The first lines of a new log are the most telling ones."""
    feed = log_at(tmp_path / "app.log")
    _, mark = follow(feed)
    (tmp_path / "app.log").write_text("first\n")
    assert follow(feed, mark)[0] == ["first"]


@pytest.mark.parametrize("after", ["b\n", "something else that is longer than before\n" * 10])
def test_truncation_is_seen_and_told(tmp_path: Path, after: str) -> None:
    """copytruncate: shorter than before, or grown past it already (the beginning differs)."""
    path = tmp_path / "app.log"
    path.write_text("")
    feed = log_at(path)
    _, mark = follow(feed)
    with path.open("a") as file:
        file.write("a line of some length\n" * 3)
    _, mark = follow(feed, mark)
    os.truncate(path, 0)
    with path.open("a") as file:
        file.write(after)
    chunk = feed.read(mark, 80)
    assert "truncated" in chunk.lost
    assert chunk.records[0].message == after.splitlines()[0]


def test_a_file_rotated_away_entirely_is_told(tmp_path: Path) -> None:
    """What could not be read is said, not passed over."""
    path = tmp_path / "app.log"
    path.write_text("x\n")
    _, mark = follow(log_at(path))
    path.rename(tmp_path / "elsewhere")
    path.write_text("new\n")
    chunk = log_at(path).read(mark, 80)
    assert "cannot be found" in chunk.lost
    assert [record.message for record in chunk.records] == ["new"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    """Windows programs write UTF-16 and cp1252; a newline's bytes inside a character are no newline."""
    path = tmp_path / "app.log"
    path.write_bytes("".encode(encoding))
    feed = log_at(path, encoding=encoding)
    _, mark = follow(feed)
    odd = "Größe" if encoding == "cp1252" else "Größe \u0a0d \u0d0a 漢"
    with path.open("ab") as file:
        file.write(f"{odd}\nzwei\n".encode("utf-16-le" if encoding == "utf-16" else encoding))
    assert follow(feed, mark)[0] == [odd, "zwei"]


def test_records_of_several_lines_stay_together(tmp_path: Path) -> None:
    """A stack trace is one event; the last one is sent when nothing was added between two looks."""
    path = tmp_path / "app.log"
    path.write_text("")
    feed = log_at(path, start=re.compile(r"^\d\d:"))
    _, mark = follow(feed)
    path.write_text("01: a\n  at x\n  at y\n02: b\n  at z\n")
    found, mark = follow(feed, mark)
    assert found == ["01: a\n  at x\n  at y"]
    found, mark = follow(feed, mark)
    assert found == ["02: b\n  at z"]
    assert follow(feed, mark)[0] == []


def test_only_what_a_rule_matches_leaves_under_its_name(tmp_path: Path) -> None:
    """The first rule that matches names the event; the rest stays on the host."""
    path = tmp_path / "app.log"
    path.write_text("")
    rules = (
        LineRule(re.compile("no free channel"), "licence.overcome", Severity.ERROR),
        LineRule(re.compile("(?i)error"), "app.error", Severity.WARNING),
    )
    feed = log_at(path, rules=rules)
    _, mark = follow(feed)
    path.write_text("info\nERROR: no free channel\nerror 5\n" + "info\n" * 500)
    records = feed.read(mark, 80).records
    assert [(r.event_id, r.severity) for r in records] == [
        ("licence.overcome", Severity.ERROR),
        ("app.error", Severity.WARNING),
    ]


def test_a_line_without_end_is_cut_and_reading_goes_on(tmp_path: Path) -> None:
    """A megabyte on one line (a dump) neither fills the memory nor stops the log."""
    path = tmp_path / "app.log"
    path.write_text("")
    feed = log_at(path)
    _, mark = follow(feed)
    path.write_text("x" * 1_000_000 + "\nafter\n")
    found: list[str] = []
    for _ in range(100):
        more, mark = follow(feed, mark)
        found += more
        if found and found[-1] == "after":
            break
    assert found[-1] == "after"
    assert sum(map(len, found[:-1])) == 1_000_000


steps = st.lists(
    st.tuples(st.sampled_from(["write", "rotate", "read", "restart"]), st.integers(1, 5)), max_size=25
)


@given(steps, st.integers(1, 7))
def test_every_line_comes_once_whatever_happens(script: list[tuple[str, int]], most: int) -> None:
    """Writing, rotating, reading and restarting in any order: each line once, in order. (A second rotation
    before the first was read is found too, as long as the file lies beside.)

    Broken twin: without looking for the renamed file, the lines between the last look and a rotation miss."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path, count, rotated = Path(folder) / "app.log", 0, 0
        path.write_text("")
        feed = log_at(path)
        found, mark = follow(feed)
        for action, times in [*script, ("read", 1)]:
            if action == "write":
                with path.open("a") as file:
                    file.writelines(f"line {count + index}\n" for index in range(times))
                count += times
            elif action == "rotate":
                more, mark = follow(feed, mark, most) if rotated else ([], mark)
                found += more
                rotated += 1
                path.rename(Path(folder) / f"app.log.{rotated}")
                path.write_text("")
            elif action == "read":
                more, mark = follow(feed, mark, most)
                found += more
            else:
                feed = log_at(path)
        assert found == [f"line {index}" for index in range(count)]


# ---- journal ------------------------------------------------------------------------------------------


def journal_file(folder: Path, entries: Sequence[dict[str, str]]) -> None:
    """A real journal file, written by systemd's own program."""
    export = "".join("".join(f"{k}={v}\n" for k, v in entry.items()) + "\n" for entry in entries)
    target = folder / "system.journal"
    target.unlink(missing_ok=True)
    subprocess.run(
        [str(REMOTE), "-o", str(target), "-"], input=export, text=True, check=True, capture_output=True
    )


def entry(number: int, priority: int = 3, **more: str) -> dict[str, str]:
    return {
        "__REALTIME_TIMESTAMP": str(1_790_000_000_000_000 + number),
        "__MONOTONIC_TIMESTAMP": str(number),
        "_BOOT_ID": "0" * 31 + "1",
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": "ucx-core",
        "_SYSTEMD_UNIT": "ucx-core.service",
        "MESSAGE": f"message {number}",
        **more,
    }


@pytest.mark.needs("journalctl")
@pytest.mark.skipif(not REMOTE.exists(), reason="systemd-journal-remote is not installed")
def test_the_journal_is_read_by_journalctl_itself(tmp_path: Path) -> None:
    """Real journalctl on a real journal file: by priority and unit, in chunks, onwards from its cursor."""
    entries = [entry(n, 6 if n % 3 == 0 else 3) for n in range(1, 31)]
    entries.append(entry(40, _SYSTEMD_UNIT="other.service", SYSLOG_IDENTIFIER="other"))
    journal_file(tmp_path, entries)
    config = JournalConfig(identifiers=("ucx-core",), directory=tmp_path)
    feed = JournalFeed(config, lambda: 1_700_000_000.0)
    _, mark = follow(feed)
    assert mark == "@1700000000"
    found, mark = follow(feed, mark, most=7)
    assert found == [f"message {n}" for n in range(1, 31) if n % 3]
    assert follow(feed, mark) == ([], mark)


def test_a_journal_that_cannot_be_asked_keeps_its_bookmark(tmp_path: Path) -> None:
    """journalctl fails or is missing: OSError, and the log is read later."""
    failing = JournalFeed(JournalConfig(), lambda: 0.0, ["false"])
    with pytest.raises(OSError, match="exit code 1"):
        failing.read("s=1", 80)
    with pytest.raises(OSError, match="no-such-program"):
        JournalFeed(JournalConfig(), lambda: 0.0, ["no-such-program"]).read("s=1", 80)


@given(
    st.dictionaries(
        st.sampled_from(["MESSAGE", "PRIORITY", "_SYSTEMD_UNIT", "__REALTIME_TIMESTAMP"]),
        st.none() | st.text(max_size=9) | st.integers() | st.lists(st.integers(0, 300), max_size=5),
    )
)
def test_any_journal_entry_is_read_or_passed_over(found: dict[str, object]) -> None:
    """Fields may be missing, binary or doubled."""
    record = to_record(found)
    assert record is None or record.message


# ---- limits -------------------------------------------------------------------------------------------


def test_the_limit_lets_the_first_pass_and_counts_the_rest() -> None:
    """A full bucket at first; it fills by the minute."""
    records = [Record(None, "s", str(n % 2), Severity.INFO, "m") for n in range(10)]
    passed = admit(None, records, 4, 100.0)
    assert len(passed.records) == 4
    assert passed.held == {("s", "0"): 3, ("s", "1"): 3}
    again = admit(passed.bucket, records, 4, 130.0)
    assert len(again.records) == 2


# ---- into the spool -----------------------------------------------------------------------------------


class Stack:
    """A check over a real log and a real spool."""

    def __init__(self, folder: Path, per_minute: float = 1000.0) -> None:
        self.path = folder / "app.log"
        self.path.touch()
        self.spool: Spool = open_spool(folder, WoundClock(), max_bytes=1 << 26)
        self.check = EventsCheck([log_at(self.path)], per_minute, self.spool, Timekeeper(utcnow))
        self.now_s = 0.0
        self.look()

    def look(self) -> None:
        self.now_s += 30
        self.check.read(self.now_s)

    def write(self, *lines: str) -> None:
        with self.path.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def events(self) -> list[Event]:
        batches = [decode_batch(stored.body) for stored in drain(self.spool)]
        return [event for batch in batches if isinstance(batch, EventBatch) for event in batch.events]


def test_events_enter_the_spool_redacted(tmp_path: Path) -> None:
    """Not even the spool's file on the host's own disk holds what was redacted."""
    stack = Stack(tmp_path)
    stack.write("call from +39 0584 943232 failed", "password=hunter2")
    stack.look()
    assert [event.message for event in stack.events()] == ["call from [number] failed", "password=[secret]"]
    stack.spool.close()
    raw = b"".join(path.read_bytes() for path in tmp_path.glob("spool.db*"))
    assert b"943232" not in raw
    assert b"hunter2" not in raw


def test_what_is_held_back_is_counted_and_told(tmp_path: Path) -> None:
    """Five pass, the rest is one event that says how many of which kind."""
    stack = Stack(tmp_path, per_minute=5)
    stack.write(*(f"line {n}" for n in range(70)))
    stack.look()
    *passed, note = stack.events()
    assert len(passed) == 5
    assert (note.source, note.event_id) == ("ucx-agent", "events.incomplete")
    assert note.message == "65 events were held back: 65 x app line."
    stack.look()
    assert stack.events() == []


def test_a_spool_that_cannot_be_written_leaves_the_log_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log is the buffer: read again later, nothing missed, nothing twice."""
    stack = Stack(tmp_path)
    stack.write("one", "two")
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "_try_disk", lambda *_: None)
        with pytest.raises(OSError, match="cannot be written"):
            stack.look()
    stack.look()
    assert [event.message for event in stack.events()] == ["one", "two"]


def test_bookmarks_survive_a_damaged_spool(tmp_path: Path) -> None:
    """What can be read of it is saved: positions too."""
    stack = Stack(tmp_path)
    stack.write("one")
    stack.look()
    mark = stack.spool.bookmark("file:app")
    stack.spool.close()
    data = bytearray((tmp_path / "spool.db").read_bytes())
    data[-200:] = b"\xff" * 200
    (tmp_path / "spool.db").write_bytes(data)
    spool = Spool(tmp_path, AGENT, max_bytes=1 << 20, max_age_s=1e6, now_ms=WoundClock())
    assert spool.bookmark("file:app") == mark
    spool.close()


_WRITER = """
import sys
from pathlib import Path
from tests.agent.test_events import Stack
stack = Stack.__new__(Stack)
folder = Path(sys.argv[1])
from agent.checks.events import EventsCheck
from agent.clock import Timekeeper
from tests.agent.kit import WoundClock, open_spool
from tests.agent.test_events import log_at
from wire.clock import utcnow
spool = open_spool(folder, WoundClock(), max_bytes=1 << 26)
check = EventsCheck([log_at(folder / "app.log")], 1e9, spool, Timekeeper(utcnow))
now = 0.0
print("up", flush=True)
while True:
    now += 30
    check.read(now)
"""


@pytest.mark.kill
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_killed_anywhere_no_event_is_missed_or_doubled(tmp_path: Path) -> None:
    """A process that reads a growing log is killed eight times; the spool then holds each line once.

    Broken twin: with the bookmark written in a transaction of its own, lines are doubled or missing."""
    path, count = tmp_path / "app.log", 0
    path.write_text("")
    first = Stack(tmp_path)
    first.spool.close()
    root = Path(__file__).parents[2]
    for _ in range(8):
        reader = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path)], cwd=root, stdout=subprocess.PIPE
        )
        assert reader.stdout is not None
        reader.stdout.readline()
        for _ in range(40):
            with path.open("a") as file:
                file.writelines(f"line {count + n}\n" for n in range(25))
            count += 25
        reader.kill()
        reader.wait()
        reader.stdout.close()
    last = Stack(tmp_path, per_minute=1e9)
    for _ in range(6):
        last.look()
    messages = [event.message for event in last.events() if event.event_id == "line"]
    assert messages == [f"line {n}" for n in range(count)]
    last.spool.close()


def test_an_old_record_is_not_sent(tmp_path: Path) -> None:
    """An agent that was off for a month does not send last month's events: they would be refused."""

    class Old:
        name = "old"

        def read(self, bookmark: str, most: int) -> Chunk:
            return Chunk([Record(1_000_000_000_000, "s", "1", Severity.INFO, "m")], "1")

    spool = open_spool(tmp_path, WoundClock())
    EventsCheck([Old()], 10, spool, Timekeeper(utcnow)).read(0.0)
    assert spool.total().batches == 0
    assert spool.bookmark("old") == "1"
    spool.close()
