"""Migrations: each applied once, whole, in order, whoever else is at it; what was applied never changes."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from storage import frozen
from storage.migrate import (
    BadMigrationFolder,
    ChangedMigration,
    FailedMigration,
    Migration,
    load,
    make_plan,
    migrate,
    migrate_async,
    plan,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two small migrations."""
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE first (v int);\nINSERT INTO first VALUES (1);\n")
    (tmp_path / "0002_second.sql").write_text("ALTER TABLE first ADD COLUMN w int;\n")
    return tmp_path


def test_all_of_ours_apply_to_an_empty_database_and_then_nothing_is_left(empty_database_url: str) -> None:
    """The shipped migrations run from nothing; a second run finds nothing to do."""
    told: list[str] = []
    first = migrate(empty_database_url, progress=told.append)
    second = migrate(empty_database_url)
    assert [m.name for m in first.pending] == [m.name for m in load()]
    assert second.pending == ()
    assert told[-1] == f"applying {first.pending[-1].name}"


def test_a_plan_changes_nothing(empty_database_url: str, folder: Path) -> None:
    """Before, the plan names both; it makes no table, not even its own."""
    assert [m.name for m in plan(empty_database_url, folder).pending] == ["0001_first.sql", "0002_second.sql"]
    assert _rows(empty_database_url, "SELECT to_regclass('schema_migration'), to_regclass('first')") == [
        (None, None)
    ]


def test_many_processes_at_once_apply_each_exactly_once(empty_database_url: str, folder: Path) -> None:
    """Eight start together: one applies, all succeed, nothing runs twice."""
    with ThreadPoolExecutor(8) as threads:
        plans = list(threads.map(lambda _: migrate(empty_database_url, folder=folder), range(8)))
    assert sorted(len(done.pending) for done in plans) == [0] * 7 + [2]
    assert _rows(empty_database_url, "SELECT count(*) FROM first") == [(1,)]


def test_from_an_event_loop(empty_database_url: str, folder: Path) -> None:
    """The asynchronous entry does the same."""
    done = asyncio.run(migrate_async(empty_database_url, folder=folder))
    assert len(done.pending) == 2


def test_a_failing_file_leaves_nothing_of_itself_and_all_before_it(
    empty_database_url: str, folder: Path
) -> None:
    """The transaction takes back the half that ran; mended, the next run goes on from there."""
    bad = folder / "0003_bad.sql"
    bad.write_text("CREATE TABLE third (v int);\nSELECT 1/0;\n")
    with pytest.raises(FailedMigration, match=r"0003_bad\.sql: division by zero"):
        migrate(empty_database_url, folder=folder)
    assert _rows(empty_database_url, "SELECT to_regclass('third')") == [(None,)]
    bad.write_text("CREATE TABLE third (v int);\n")
    assert [m.name for m in migrate(empty_database_url, folder=folder).pending] == ["0003_bad.sql"]


def test_a_changed_file_is_refused_before_anything_runs(empty_database_url: str, folder: Path) -> None:
    """The hash of an applied file differs: nothing is applied, the message says what to do."""
    migrate(empty_database_url, folder=folder)
    (folder / "0001_first.sql").write_text("CREATE TABLE first (v bigint);\n")
    (folder / "0003_third.sql").write_text("CREATE TABLE third (v int);\n")
    with pytest.raises(ChangedMigration, match=r"0001_first\.sql\. Restore the file"):
        migrate(empty_database_url, folder=folder)
    assert _rows(empty_database_url, "SELECT to_regclass('third')") == [(None,)]


def test_line_ends_of_a_windows_checkout_are_no_change(empty_database_url: str, folder: Path) -> None:
    """Hashes are taken over the text with \\n."""
    migrate(empty_database_url, folder=folder)
    path = folder / "0001_first.sql"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert migrate(empty_database_url, folder=folder).pending == ()


def test_old_code_runs_on_a_newer_schema(empty_database_url: str, folder: Path) -> None:
    """A migration that we do not have is named in the plan and left alone."""
    migrate(empty_database_url, folder=folder)
    (folder / "0002_second.sql").unlink()
    done = migrate(empty_database_url, folder=folder)
    assert done.newer == ("0002_second.sql",)
    assert "newer version" in done.describe()


def test_concurrent_index_outside_a_transaction_while_others_wait(
    empty_database_url: str, folder: Path
) -> None:
    """CREATE INDEX CONCURRENTLY waits for every older snapshot: those who wait for our lock must hold
    none."""
    (folder / "0003_index.sql").write_text(
        "-- no-transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS first_v ON first (v)\n"
    )
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: migrate(empty_database_url, folder=folder), range(4)))
    assert _rows(
        empty_database_url, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'first_v'::regclass"
    ) == [(True,)]


@pytest.mark.parametrize("name", ["third.sql", "3_third.sql", "0002_again.sql", "0003_Third.sql"])
def test_a_badly_named_file_is_refused(folder: Path, name: str) -> None:
    """No number, too few digits, a number twice, capitals: named in the message."""
    (folder / name).write_text("SELECT 1")
    with pytest.raises(BadMigrationFolder, match=name.replace(".", r"\.")):
        load(folder)


def test_what_has_shipped_is_frozen() -> None:
    """The files in the tree keep the promise of frozen.txt."""
    assert frozen.faults(frozen.read(), load()) == []


def test_freezing_finds_what_was_changed_removed_or_slipped_in(folder: Path) -> None:
    """After a release: a changed file, a removed one and a new one with an early number are each named."""
    assert frozen.freeze(folder) == ["0001_first.sql", "0002_second.sql"]
    assert frozen.freeze(folder) == []
    (folder / "0001_first.sql").write_text("SELECT 2")
    (folder / "0002_second.sql").rename(folder / "0001_earlier.sql")
    shipped = frozen.read(folder)
    ours = [Migration(path.name, path.read_text(), "0" * 64) for path in sorted(folder.glob("*.sql"))]
    faults = frozen.faults(shipped, ours)
    assert [fault.split()[0] for fault in faults] == ["0002_second.sql", "0001_first.sql", "0001_earlier.sql"]
    with pytest.raises(BadMigrationFolder):
        frozen.freeze(folder)


def test_the_plan_is_a_pure_comparison() -> None:
    """Pending in order, applied, newer: from names and hashes alone."""
    ours = [Migration(f"000{n}_x.sql", "", f"h{n}") for n in (1, 2, 3)]
    made = make_plan(ours, {"0001_x.sql": "h1", "0009_y.sql": "h9"})
    assert ([m.name for m in made.pending], made.applied, made.newer) == (
        ["0002_x.sql", "0003_x.sql"],
        ("0001_x.sql",),
        ("0009_y.sql",),
    )


def _rows(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(sql.encode()).fetchall()
