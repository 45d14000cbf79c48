"""The room's SQL and its code agree."""

from __future__ import annotations

from storage.sql import usage


def test_every_query_exists_and_is_used() -> None:
    """No query is missing, none is left over."""
    for package, variable in (("ticketing", "Q"), ("ticketing.notify", "N")):
        found = usage(package, variable)
        assert found.missing == ()
        assert found.unused == ()
