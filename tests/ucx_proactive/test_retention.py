"""Rows that would grow for ever go when they are past their keep; nothing that is still needed goes along."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import psycopg
import pytest

from oncall.settings import Settings as OncallSettings
from storage import forgetting
from storage.pool import Pool
from tests.oncall.world import Registry
from ucx_proactive import retention
from ucx_proactive.settings import Rooms, Settings, fill_rooms
from wire.clock import utcnow

NOW = utcnow()


def rooms(**sections: dict[str, int]) -> Rooms:
    faults: list[str] = []
    found = fill_rooms(Settings(**sections), faults)  # type: ignore[arg-type]
    assert not faults, faults
    return found


def paging(
    registry: Registry, name: str, *, state: str = "ended", closed: int | None, ended: int | None
) -> int:
    """A paging with a page and its history; days since its ticket was closed and its request ended."""
    _, request = registry.request(name)
    row = {"request": request, "closed": closed, "ended": ended, "state": state}
    for statement in _PAGING:
        run(registry, statement, row)
    return request


def run(registry: Registry, statement: str, row: Mapping[str, object]) -> None:
    with psycopg.connect(registry.url, autocommit=True) as conn:
        conn.execute(statement.encode(), row)


_PAGING = (
    """UPDATE page_request SET ended_at = now() - %(ended)s * interval '1 day'
       WHERE page_request_id = %(request)s""",
    """UPDATE ticket t SET state = CASE WHEN %(closed)s::int IS NULL THEN 'new' ELSE 'closed' END,
              closed_at = now() - %(closed)s * interval '1 day'
       FROM page_request q WHERE q.page_request_id = %(request)s AND t.ticket_id = q.ticket_id""",
    """INSERT INTO paging (tenant_id, page_request_id, ticket_id, state, created_at, next_look_at)
       SELECT tenant_id, page_request_id, ticket_id, %(state)s::text, now(),
              CASE WHEN %(state)s::text = 'active' THEN now() END
       FROM page_request WHERE page_request_id = %(request)s""",
    """INSERT INTO page (tenant_id, page_id, page_request_id, person_id, transport, step, round, fence, state,
                         provider, created_at)
       SELECT tenant_id, gen_random_uuid(), page_request_id, 1, 'voice', 0, 1, 1, 'failed', 'p', now()
       FROM page_request WHERE page_request_id = %(request)s""",
    """INSERT INTO page_event (tenant_id, page_request_id, at, kind)
       SELECT tenant_id, page_request_id, now(), 'x' FROM page_request WHERE page_request_id = %(request)s""",
)


async def test_how_somebody_was_reached_goes_with_tickets_long_closed_only(
    pool: Pool, database_url: str
) -> None:
    """Of five pagings the one goes whose ticket was closed and whose request ended before the keep. Open
    requests keep theirs, else somebody would be rung anew; so do open tickets and what is due.

    Broken twin: judged by the paging's age alone, the pagings of open requests go too."""
    registry = Registry(database_url)
    gone = paging(registry, "long closed", closed=500, ended=500)
    stay = {
        paging(registry, "closed lately", closed=10, ended=500),
        paging(registry, "open ticket", closed=None, ended=500),
        paging(registry, "open request", closed=500, ended=None),
        paging(registry, "still due", state="active", closed=500, ended=500),
    }
    await retention.sweep(pool, rooms(), lambda: NOW)
    for table in ("paging", "page", "page_event"):
        left = {row[0] for row in registry.rows(f"SELECT page_request_id FROM {table}")}
        assert left == stay, table
    assert gone not in stay


async def test_trails_and_letters_go_by_their_settings_in_small_steps(
    pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The registry's trail stays for ever unless a limit is set; then it goes, some rows at a time, all of it
    within one round; the newest confirmed test call of a person stays. Each table leaves its row as a job."""
    monkeypatch.setattr(forgetting, "AT_ONCE", 3)
    registry = Registry(database_url)
    registry.run(
        "INSERT INTO registry_change (at, actor, act, path)"
        " SELECT now() - n * interval '1 day', 'a', 'add', 'p' FROM generate_series(1, 20) n"
    )
    for outcome, days in (("confirmed", 900), ("confirmed", 800), ("no-key", 700)):
        run(registry, _TEST_CALL, {"days": days, "outcome": outcome})
    gone = await retention.sweep(pool, rooms(), lambda: NOW)
    assert (gone["registry_change"], gone["test_call"]) == (0, 1)
    gone = await retention.sweep(pool, rooms(ticketing={"audit_trail_days": 5}), lambda: NOW)
    assert gone["registry_change"] == 15
    assert registry.rows("SELECT max(failures) FROM upkeep_job WHERE job = 'forget'") == [(0,)]


_TEST_CALL = """
INSERT INTO test_call (test_id, person_id, address, provider, requested_at, requested_by, outcome)
VALUES (gen_random_uuid(), 1, '+1', 'p', now() - %(days)s * interval '1 day', 'weekly', %(outcome)s)
"""


_PROGRESS = (
    "SET session_replication_role = replica",
    """INSERT INTO alert (tenant_id, alert_id, deployment_id, rule_id, instance, problem_key, state, priority,
                          since, summary, changed_at)
       SELECT t, n, 1, 'r', n::text, 'p' || n, 'firing', 1, now(), 's', now()
       FROM (VALUES (1, 1), (2, 2), (1, 3)) AS k (t, n)""",
    """INSERT INTO desk_progress (tenant_id, alert_id, deployment_id, parked_at)
       SELECT 1, n, 1, CASE WHEN n = 9 THEN now() END FROM generate_series(1, 9) n""",
    """INSERT INTO ticket_alert (tenant_id, ticket_id, alert_id, firing)
       SELECT 1, 1, n, false FROM generate_series(1, 9) n""",
)


async def test_how_far_the_desk_came_goes_with_the_alert(
    pool: Pool, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of nine alerts two are left, and one more is another customer's: the desk's progress with the rest
    goes, two at a time; what is parked waits for a person; the tickets know their alerts still.

    Broken twins, both seen to fail: alerts looked up by their number alone, and parked ones not spared."""
    monkeypatch.setattr(forgetting, "AT_ONCE", 2)
    with psycopg.connect(database_url) as conn:
        for statement in _PROGRESS:
            conn.execute(statement.encode())
    registry = Registry(database_url)
    assert (await retention.sweep(pool, rooms(ticketing={"decision_days": 0}), lambda: NOW)).get(
        "desk_progress"
    ) == 0
    assert (await retention.sweep(pool, rooms(), lambda: NOW))["desk_progress"] == 6
    assert registry.rows("SELECT alert_id FROM desk_progress ORDER BY 1") == [(1,), (3,), (9,)]
    assert registry.rows("SELECT count(*) FROM ticket_alert") == [(9,)]


def test_every_table_that_is_looked_after_says_for_how_long() -> None:
    """What 'storage stats' prints; a keep of 0 means for ever."""
    said = retention.kept(rooms())
    assert said["page_event"] == said["frame"].replace("30", "400") == "400 days"
    assert "registry_change" not in said
    assert retention.kept(rooms(ticketing={"audit_trail_days": 7}))["registry_change"] == "7 days"
    assert OncallSettings().page_history_days == 400
    assert timedelta(days=14) == timedelta(days=int(said["batch_ledger"].split()[0]))
