"""Old code runs on the new schema: expand first, contract a release later (CONTRIBUTING.md).

While a release is rolled out, collectors of the one before work on the migrated database. So no migration
that follows a release may take away, rename or narrow what they use: by its text, and in a database.
"""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
import pytest

from storage.frozen import read
from storage.migrate import FOLDER, migrate

FORBIDDEN = {
    r"\bDROP\s+(TABLE|COLUMN|VIEW|FUNCTION|SEQUENCE|TYPE)\b": "takes away what an older program uses",
    r"\bRENAME\b": "renames what an older program uses",
    r"\bSET\s+NOT\s+NULL\b": "an older program may leave it empty",
    r"\bALTER\s+(COLUMN\s+)?\w+\s+(SET\s+DATA\s+)?TYPE\b": "an older program writes the type it knows",
    r"\bADD\s+CONSTRAINT\b(?![^;]*\bNOT\s+VALID\b)": "an older program may write what it refuses",
}


def faults(sql: str) -> list[str]:
    """What in a migration breaks older programs. Comments are no statements."""
    found: list[str] = []
    for statement in re.sub(r"--[^\n]*", "", sql).split(";"):
        if re.match(r"\s*CREATE\s+TABLE\b", statement, re.IGNORECASE):
            continue  # nobody older knows the table
        for pattern, why in FORBIDDEN.items():
            if hit := re.search(pattern, statement, re.IGNORECASE):
                found.append(f"{' '.join(hit[0].split())}: {why}")
        found += [f"{' '.join(part.split())}: give it a default" for part in _unfilled(statement)]
    return found


def _unfilled(statement: str) -> list[str]:
    """New columns that an older program leaves empty and may not."""
    added = re.split(r"\bADD\s+(?:COLUMN\s+)?", statement, flags=re.IGNORECASE)[1:]
    return [
        part
        for part in added
        if re.search(r"\bNOT\s+NULL\b", part, re.IGNORECASE)
        and not re.search(r"\b(DEFAULT|GENERATED)\b", part, re.IGNORECASE)
    ]


@pytest.mark.parametrize(
    "name", sorted(path.name for path in FOLDER.glob("*.sql") if path.name not in read())
)
def test_no_migration_breaks_the_program_before_it(name: str) -> None:
    """By the text of each migration that is not frozen: before the first release there was no program."""
    assert faults((FOLDER / name).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE host DROP COLUMN facts",
        "ALTER TABLE host RENAME COLUMN facts TO about",
        "ALTER TABLE host ALTER COLUMN facts SET NOT NULL",
        "ALTER TABLE host ADD COLUMN rack text NOT NULL",
        "ALTER TABLE host ALTER COLUMN name TYPE varchar(10)",
        "DROP TABLE host",
        "ALTER TABLE host ADD CONSTRAINT short CHECK (length(name) < 10)",
    ],
)
def test_what_would_break_it_is_seen(statement: str) -> None:
    """Each kind once; the same in a comment, or with a default, is none."""
    assert faults(statement)
    assert faults(f"-- {statement}\nALTER TABLE host ADD COLUMN rack text NOT NULL DEFAULT ''") == []


def test_every_column_an_older_program_knows_is_there_and_may_be_left_as_it_leaves_it(
    empty_database_url: str, database_url: str, tmp_path: Path
) -> None:
    """The frozen schema beside the newest one: no column is gone, has changed its type, or wants to be filled
    in a table that an older program writes without it."""
    for path in FOLDER.glob("*.sql"):
        if path.name in read():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    migrate(empty_database_url, folder=tmp_path)
    old, new = _columns(empty_database_url), _columns(database_url)
    assert {key: new.get(key, "(gone)")[:2] for key in old} == {key: about[:2] for key, about in old.items()}
    tables = {table for table, _ in old}
    added = {key: about for key, about in new.items() if key[0] in tables and key not in old}
    assert [
        key for key, (_, nullable, default) in added.items() if nullable == "NO" and default is None
    ] == []


def _columns(url: str) -> dict[tuple[str, str], tuple[str, str, str | None]]:
    with psycopg.connect(url) as conn:
        rows = conn.execute(_COLUMNS.encode()).fetchall()
    return {(table, column): (kind, nullable, default) for table, column, kind, nullable, default in rows}


_COLUMNS = """
SELECT table_name, column_name, udt_name, is_nullable, coalesce(column_default, identity_generation)
FROM information_schema.columns WHERE table_schema = 'public'
"""
