"""The loader of named queries: a corpus of files, good and bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from storage.pool import Pool
from storage.sql import BadQueryFile, Queries, UnknownQuery, parse, usage

GOOD = """\
-- What this file is about.

-- name: claim_due
-- Takes what is due, whatever %(mark)s is.
SELECT id
FROM t           -- a remark
WHERE due <= %(now)s;

-- name: forget
-- Removes one row.
DELETE FROM t WHERE id = %(id)s
"""

BAD = {
    "sql before a name": ("SELECT 1;\n-- name: a\n-- p\nSELECT 1", "q.sql:1: SQL before the first"),
    "no purpose": ("-- name: a\nSELECT 1", "q.sql:1: query 'a' has no purpose"),
    "empty purpose": ("-- name: a\n--\nSELECT 1", "q.sql:1: query 'a' has no purpose"),
    "no sql": ("-- name: a\n-- p\n-- only a remark\n", "q.sql:1: query 'a' has no SQL"),
    "twice": (
        "-- name: a\n-- p\nSELECT 1\n-- name: a\n-- p\nSELECT 2",
        "q.sql:4: 'a' is already defined in line 1",
    ),
    "capitals": ("-- name: Claim\n-- p\nSELECT 1", "q.sql:1: 'Claim' is no usable name"),
    "no name": ("-- name:\n-- p\nSELECT 1", "q.sql:1: '' is no usable name"),
    "a method": ("-- name: load\n-- p\nSELECT 1", "q.sql:1: 'load' is no usable name"),
}


def test_queries_are_found_by_name_with_purpose_and_line() -> None:
    """Name, purpose, line and SQL; the closing semicolon and the header are not part of the SQL."""
    queries = parse(GOOD, "q.sql")
    claim = queries["claim_due"]
    assert (claim.purpose, claim.line) == ("Takes what is due, whatever %(mark)s is.", 3)
    assert claim.sql.startswith(b"SELECT id\nFROM t")
    assert claim.sql.endswith(b"%(now)s")
    assert list(queries) == ["claim_due", "forget"]


@pytest.mark.parametrize(("text", "fault"), BAD.values(), ids=list(BAD))
def test_each_fault_is_named_with_its_line(text: str, fault: str) -> None:
    """A file that breaks the format is refused with file, line and what to do."""
    with pytest.raises(BadQueryFile) as caught:
        parse(text, "q.sql")
    assert str(caught.value).startswith(fault)


def test_all_faults_are_reported_at_once() -> None:
    """One run shows everything there is to mend."""
    with pytest.raises(BadQueryFile) as caught:
        parse("SELECT 0\n-- name: a\nSELECT 1\n-- name: B\n-- p\nSELECT 1", "q.sql")
    places = [line.split(": ")[0] for line in str(caught.value).splitlines()]
    assert places == ["q.sql:1", "q.sql:2", "q.sql:4"]


def test_an_unknown_name_says_which_exist() -> None:
    """A typing error in code shows at once what was meant."""
    queries = Queries(parse(GOOD, "q.sql"), "q.sql")
    with pytest.raises(UnknownQuery, match=r"q\.sql has no query 'clam_due'; it has: claim_due, forget"):
        _ = queries.clam_due
    assert not hasattr(queries, "clam_due")


async def test_a_loaded_query_runs(pool: Pool) -> None:
    """What the loader returns goes straight to ``execute``."""
    queries = Queries(parse("-- name: add\n-- Adds.\nSELECT %(a)s::int + 1;", "q.sql"), "q.sql")
    async with pool.connection() as conn:
        assert await (await conn.execute(queries.add, {"a": 41})).fetchone() == (42,)


def _rooms() -> list[str]:
    root = Path(__file__).parent.parent.parent
    found = [*root.glob("*/queries.sql"), *root.glob("*/*/queries.sql")]
    return sorted(".".join(path.parent.relative_to(root).parts) for path in found)


@pytest.mark.parametrize("room", _rooms())
def test_code_and_queries_of_each_room_agree(room: str) -> None:
    """Every ``Q.name`` in a room's code exists in its queries.sql, and every query there is used."""
    found = usage(room)
    assert found.missing == ()
    assert found.unused == ()
