"""What no alert stands behind: calls to the on-call line, tickets that people opened, on-call's own
alarms."""

from __future__ import annotations

from datetime import datetime, timedelta
from secrets import token_hex
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from oncall import alarm
from oncall.auditor.files import Line
from oncall.auditor.finding import Finding, findings
from oncall.auditor.settings import Settings
from oncall.auditor.sight import look
from storage.pool import Pool
from tests.ticketing.desk_world import World, registry
from ticketing import desk
from ticketing.settings import Settings as DeskSettings
from wire.clock import utcnow

S = Settings()
CUSTOMERS = {"platinum-co": "plan: platinum, start: 2024-01-01, autorenew: true"}
REPORT = """
INSERT INTO on_call_report
    (tenant_id, deployment_id, pin_id, call_no, caller, identified_at, served, reason, confirmed_at)
SELECT tenant_id, deployment_id, 1, 1, '', %s, true, 'Platinum', %s FROM deployment"""


async def found(url: str, now: datetime) -> list[Finding]:
    """What the auditor finds about tickets, reports and on-call's alarms."""
    seen = await look(url, S, now, [])
    return [f for f in findings(seen.snapshot, S, now) if not f.key.startswith("rota")]


async def test_a_call_that_the_desk_never_sees_and_a_ticket_that_never_rings_are_found(
    pool: Pool, database_url: str
) -> None:
    """The customer pressed 4 and everything behind is dead: found after five minutes, first without a ticket,
    then without a phone that rang; answered, it is in good hands.

    Broken twin: an auditor that starts from alerts alone finds nothing here (seen to fail)."""
    world, now = World(pool), utcnow()
    await world.registry(registry(CUSTOMERS))
    await world.do(REPORT, now, now)
    assert await found(database_url, now + timedelta(minutes=4)) == []
    [finding] = await found(database_url, now + timedelta(minutes=6))
    assert (finding.key.partition(":")[0], finding.urgent) == ("report", True)
    assert "the desk has decided nothing" in finding.reason
    while await desk.work(pool, DeskSettings(), now):
        pass
    [finding] = await found(database_url, now + timedelta(minutes=6))
    assert finding.key.startswith("ticket:")
    assert "No phone has rung" in finding.reason
    await world.acknowledge(now + timedelta(minutes=6))
    await world.do("UPDATE page_request SET ended_at = now()")
    await world.do("UPDATE ticket SET taken_at = now(), state = 'taken'")
    assert await found(database_url, now + timedelta(minutes=60)) == []


@pytest.mark.parametrize("state", ["waiting_customer", "waiting_third_party"])
async def test_what_a_person_put_on_wait_rings_no_second_person(
    pool: Pool, database_url: str, state: str
) -> None:
    """Somebody works on a ticket and waits for the customer, without having taken it first: paging has ended
    because a person answers for it, and nobody of ours is woken for that.

    Broken twin: waiting not told from forgotten, the auditor rings five minutes later (seen to fail)."""
    world, now = World(pool), utcnow()
    await world.registry(registry(CUSTOMERS))
    await world.do(REPORT, now, now)
    while await desk.work(pool, DeskSettings(), now):
        pass
    await world.do("UPDATE page_request SET ended_at = now()")
    assert len(await found(database_url, now + timedelta(minutes=6))) == 1
    await world.do("UPDATE ticket SET state = %s", state)
    assert await found(database_url, now + timedelta(minutes=6)) == []


async def test_on_calls_own_alarms_ring_through_the_auditor_until_they_are_over(
    pool: Pool, database_url: str
) -> None:
    """The spend cap rings at any hour, guessing at PINs in calm ones; found again an alarm goes on, not
    found for 15 minutes it ends."""
    now = utcnow()
    async with pool.connection() as conn:
        assert await alarm.sound(conn, "spend_cap", "cap reached", now, urgent=True)
        assert not await alarm.sound(
            conn, "spend_cap", "cap reached", now + timedelta(minutes=10), urgent=True
        )
        assert await alarm.sound(conn, "pin_guessing", "60 wrong", now, urgent=False)
        assert [(f.reason, f.urgent) for f in await found(database_url, now)] == [
            ("cap reached", True),
            ("60 wrong", False),
        ]
        await alarm.let_end(conn, now + timedelta(minutes=20))
        assert [f.reason for f in await found(database_url, now)] == ["cap reached"]
        await alarm.let_end(conn, now + timedelta(minutes=26))
        assert await found(database_url, now) == []
        assert await alarm.sound(conn, "spend_cap", "again", now + timedelta(minutes=30), urgent=True)


async def test_the_role_that_the_operations_page_makes_is_enough(pool: Pool, database_url: str) -> None:
    """Reading everywhere and one INSERT: it looks, leaves its journal's line, and may change nothing else."""
    role = f"auditor_{token_hex(4)}"
    url = make_conninfo(database_url, user=role, password="secret")
    async with pool.connection() as conn:
        await conn.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret' IN ROLE pg_read_all_data".encode())
        await conn.execute(f"GRANT INSERT ON auditor_entry TO {role}".encode())
        try:
            line = Line(uuid4(), utcnow().isoformat(), "finding", "a line", {})
            await look(url, S, utcnow(), [line])
            assert await (await conn.execute("SELECT text FROM auditor_entry")).fetchall() == [("a line",)]
            async with await psycopg.AsyncConnection.connect(url) as theirs:
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    await theirs.execute("UPDATE paging_switch SET paging = false")
        finally:
            await conn.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


async def test_an_auditor_that_is_newer_than_the_database_is_not_blind(pool: Pool, database_url: str) -> None:
    """Updated before the migration ran, it audits what there is."""
    async with pool.connection() as conn:
        await conn.execute("DROP TABLE on_call_report, on_call_report_progress, oncall_alarm")
    assert await found(database_url, utcnow()) == []
