"""What ``doctor`` says of on-call: what is missing, what it costs, what to do."""

from __future__ import annotations

from typing import Any

import psycopg

from ucx_proactive.checkup import Finding, examine
from ucx_proactive.settings import load

SECRET = "0123456789abcdef0123456789abcdef"


def found(database_url: str, **oncall: Any) -> dict[str, Finding]:
    """All findings, by what they are about."""
    flags = {"database_url": database_url, "port": 1, "oncall": oncall}
    return {one.what: one for one in examine(*load(flags, environment={}))}


def test_secrets_without_a_default_are_named_with_what_to_do(database_url: str) -> None:
    """Not set: a fault each, which names the setting, the loss and the command; set: well."""
    bare = found(database_url)
    for name in ("link_secret", "pin_secret"):
        one = bare[f"on-call's {name}"]
        assert not one.well
        assert f"oncall.{name}" in one.words
        assert "openssl rand -hex 32" in one.words
    full = found(database_url, link_secret=SECRET, pin_secret=SECRET)
    assert all(full[f"on-call's {name}"].well for name in ("link_secret", "pin_secret"))
    assert SECRET not in str(full)


def test_an_open_alarm_of_on_call_is_told(database_url: str) -> None:
    """As long as it lasts."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(
            "INSERT INTO oncall_alarm (kind, opened_at, seen_at, detail, urgent)"
            " VALUES ('spend_cap', now(), now(), 'the cap is reached', true)"
        )
        one = found(database_url)["on-call alarm spend_cap"]
        assert (one.well, one.words) == (False, "the cap is reached")
        conn.execute("UPDATE oncall_alarm SET ended_at = now()")
    assert "on-call alarm spend_cap" not in found(database_url)


def test_a_database_without_tables_is_one_fault(empty_database_url: str) -> None:
    """It names the command; no error of PostgreSQL, and no partition that cannot be there.

    Seen failing without the look at the tables: 'relation "upkeep_job" does not exist'."""
    words = found(empty_database_url)
    assert "ucx-proactive migrate" in words["migrations"].words
    assert words["database"].well
    assert not {"upkeep", "rota", "tables", "partitions of frame"} & set(words)
