"""Backup and restore by the commands: whole or not at all, and a copy rings nobody."""

from __future__ import annotations

from pathlib import Path

import psycopg
from typer.testing import CliRunner

from ucx_proactive.commands import backup, restore, storage

run = CliRunner().invoke


def _value(url: str, query: str) -> object:
    with psycopg.connect(url, autocommit=True) as conn:
        row = conn.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def test_a_restored_copy_is_whole_and_rings_nobody(
    database_url: str, empty_database_url: str, tmp_path: Path
):
    """What was committed is there, the tables are up to date, and the paging switch is off, for a reason."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute("INSERT INTO tenant (key, name, created_at) VALUES ('acme', 'Acme', now())")
    folder = tmp_path / "monday"
    made = run(backup.app, [str(folder), "--database-url", database_url])
    assert made.exit_code == 0, made.output
    done = run(restore.app, [str(folder), "--database-url", empty_database_url])
    assert done.exit_code == 0, done.output
    assert _value(empty_database_url, "SELECT name FROM tenant") == "Acme"
    assert _value(empty_database_url, "SELECT paging FROM paging_switch ORDER BY switch_id DESC") is False
    again = run(restore.app, [str(folder), "--database-url", empty_database_url])
    assert again.exit_code == 1
    assert "not empty" in again.output


def test_a_changed_backup_is_no_backup(database_url: str, empty_database_url: str, tmp_path: Path):
    """One flipped byte, a missing file, an interrupted backup: refused, and nothing is restored."""
    folder = tmp_path / "monday"
    assert run(backup.app, [str(folder), "--database-url", database_url]).exit_code == 0
    assert run(backup.app, [str(folder), "--verify"]).exit_code == 0
    assert run(backup.app, [str(folder), "--database-url", database_url]).exit_code == 1
    victim = max((folder / "data").iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    assert run(backup.app, [str(folder), "--verify"]).exit_code == 1
    refused = run(restore.app, [str(folder), "--database-url", empty_database_url])
    assert refused.exit_code == 1
    assert victim.name in refused.output
    assert _value(empty_database_url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    (folder / "manifest.json").unlink()
    assert run(backup.app, [str(folder), "--verify"]).exit_code == 1


def test_no_database_is_made_for_what_is_no_backup(tmp_path: Path):
    """The folder is looked at first; seen failing when a new data directory stayed behind."""
    (tmp_path / "none").mkdir()
    refused = run(restore.app, [str(tmp_path / "none"), "--data-dir", str(tmp_path / "new")])
    assert refused.exit_code == 1
    assert "no complete backup" in refused.output
    assert not (tmp_path / "new").exists()


def test_statistics_name_every_table(database_url: str):
    """Tables kept by time are counted with their days."""
    told = run(storage.app, ["stats", "--database-url", database_url])
    assert told.exit_code == 0, told.output
    assert "batch_ledger" in told.output
    assert run(storage.app, ["stats", "--json", "--database-url", database_url]).exit_code == 0
