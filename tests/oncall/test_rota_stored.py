"""The rota in the database and over HTTP: saved, changed, looked through for gaps, carried into calendars."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from icalendar import Calendar
from psycopg.types.json import Jsonb

from oncall import rota_api, watch
from oncall.gaps import rota_gaps
from oncall.policy import targets
from oncall.roster import RefusedRota, load, policy_named, save, who_is_on
from oncall.rota_file import BadRota
from oncall.settings import Settings
from oncall.watch import Look, daily, gap_check, newest, run
from storage.pool import Pool, open_pool
from tests.mounted import mounted
from wire.access import Principal, Role

GOOD = (Path(__file__).parent / "rota_files" / "three-theatres.yaml").read_text()
NO_GAPS = GOOD.partition("absences:")[0] + "policies:" + GOOD.partition("policies:")[2]
NOW = datetime(2026, 8, 1, 12, tzinfo=UTC)
STAFF = ("anna", "bruno", "chiara", "mia", "noah", "omar", "sara", "head", "rita")
PERSON = """INSERT INTO person (key, name, email, phone, zone, languages, roles)
            VALUES (%s, %s, %s, %s, 'Europe/Rome', '{en}', %s)"""


def clock() -> datetime:
    return NOW


@pytest.fixture
async def staffed(database_url: str) -> AsyncIterator[Pool]:
    """A database with the people of the example rota."""
    pool = await open_pool(database_url)
    async with pool.connection() as conn:
        for n, key in enumerate(STAFF):
            roles = Jsonb([{"role": "support-manager", "theatre": None}] if key == "head" else [])
            await conn.execute(PERSON, (key, key.title(), f"{key}@example.com", f"+39058400000{n}", roles))
    yield pool
    await pool.close()


class Alarms:
    def __init__(self) -> None:
        self.looks: list[Look] = []

    async def __call__(self, look: Look) -> None:
        self.looks.append(look)


async def test_the_newest_document_is_in_force_with_the_registrys_people(staffed):
    """Zones and addresses come from the person table, quiet hours from the document."""
    async with staffed.connection() as conn:
        assert await load(conn, NOW) is None
        await save(conn, GOOD, NOW, "anna", 3600)
        second = await save(conn, NO_GAPS, NOW, "anna", 3600)
        stored = await load(conn, NOW)
    assert stored is not None
    assert stored.rota_id == second
    assert stored.rota.people["mia"].zone == "Europe/Rome"
    assert stored.rota.people["noah"].quiet
    on = who_is_on(stored.rota, NOW)
    policy = policy_named(stored.rota, "platinum-p1")
    assert policy is not None
    assert [(t.person_key, t.transport) for t in targets(policy, 0, 1, on, NOW)] == [
        (on.schedules["europe"][0], "voice"),
        (on.schedules["europe"][0], "sms"),
    ]


async def test_what_cannot_keep_the_contract_is_not_saved(staffed):
    """Too slow a policy, unknown people, people without a phone, files: refused, and nothing changes."""
    async with staffed.connection() as conn:
        with pytest.raises(RefusedRota, match="must be less than 20:00"):
            await save(conn, GOOD, NOW, "x", 1200)
        await conn.execute("UPDATE person SET phone = NULL WHERE key = 'sara'")
        await conn.execute("UPDATE person SET active = false WHERE key = 'omar'")
        text = GOOD.replace("from: 2026-08-10, to: 2026-08-16, reason: summer", "calendar: b.ics")
        with pytest.raises(RefusedRota) as refusal:
            await save(conn, text, NOW, "x", 3600)
        assert [reason.split()[0] for reason in refusal.value.reasons] == ["'omar'", "'sara'", "absences:"]
        with pytest.raises(BadRota):
            await save(conn, "zone: Mars", NOW, "x", 3600)
        assert await load(conn, NOW) is None


async def test_a_look_writes_down_what_it_finds_and_alarms(staffed):
    """Bruno's August absence is in the table, to the second, and was given to the alarm."""
    alarms = Alarms()
    async with staffed.connection() as conn:
        await save(conn, GOOD, NOW, "anna", 3600)
        look = await gap_check(conn, clock, "asked", alarm=alarms)
        stored = await newest(conn)
    assert stored == look
    assert alarms.looks == [look]
    assert [(g.subject, g.start, g.end) for g in look.gaps] == [
        ("schedule europe", datetime(2026, 8, 10, 7, tzinfo=UTC), datetime(2026, 8, 16, 22, tzinfo=UTC))
    ]
    assert look.end - look.start == timedelta(days=90)


async def test_no_rota_is_as_loud_as_a_gap(staffed):
    """Without a rota, or with one that this program cannot read, a look has a fault and alarms."""
    alarms = Alarms()
    async with staffed.connection() as conn:
        await gap_check(conn, clock, alarm=alarms)
        insert = "INSERT INTO rota_document (document, saved_at, saved_by) VALUES ('zone: Mars', %s, 'x')"
        await conn.execute(insert, (NOW,))
        await gap_check(conn, clock, alarm=alarms)
    assert [look.fault.split(":")[0] for look in alarms.looks if look.fault] == [
        "no rota is in force",
        "the rota in force cannot be read",
    ]


async def test_a_rota_that_cannot_be_followed_is_as_loud_as_a_gap(staffed):
    """A person's time zone that this machine does not know: the look is written down with its fault.

    Broken twin (tried): the look raised, nothing was written, and the worker ended with it."""
    heard: list[Look] = []

    async def alarm(look: Look) -> None:
        heard.append(look)

    quiet = NO_GAPS.replace("{schedule: europe}, how: [voice, sms]", "{person: noah}, how: [voice, sms]")
    async with staffed.connection() as conn:
        await save(conn, quiet, NOW, "sofia", 3600)
        await conn.execute("UPDATE person SET zone = 'Mars/Olympus'")
        look = await gap_check(conn, clock, alarm=alarm)
    assert heard == [look]
    assert "cannot be followed" in (look.fault or "")
    assert "Mars/Olympus" in (look.fault or "")


async def test_the_daily_look_happens_once_a_day_whoever_comes(staffed):
    """Two processes in one day: one look. A day later: the next. While one looks, the other does not wait."""
    alarms = Alarms()
    async with staffed.connection() as one, staffed.connection() as two:
        async with one.transaction():
            assert await daily(one, clock, alarms) is not None
            assert await daily(two, clock, alarms) is None
        assert await daily(two, clock, alarms) is None
        assert await daily(two, lambda: NOW + timedelta(days=1), alarms) is not None
    assert len(alarms.looks) == 2


def app(pool: Pool, principal: Principal) -> FastAPI:
    """Our routes as composition serves them."""
    routes = rota_api.router(pool, Settings(public_url="https://x.example"), clock, alarm=Alarms())
    return mounted(routes, lambda: principal)


@pytest.fixture
async def admin(staffed: Pool) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app(staffed, Principal("ada", Role.ADMIN)))
    async with httpx.AsyncClient(transport=transport, base_url="http://t/v1/oncall") as client:
        yield client


async def test_a_rota_is_put_read_and_refused_over_http(admin):
    """PUT answers with the gaps it has; a bad one names each line; GET gives back the very text."""
    assert (await admin.get("/rota")).status_code == 404
    assert (await admin.get("/who")).status_code == 404
    put = await admin.put("/rota", content=GOOD)
    assert put.status_code == 200
    assert [gap["subject"] for gap in put.json()["gaps"]] == ["schedule europe"]
    assert (await admin.get("/rota")).text == GOOD
    bad = await admin.put("/rota", content=GOOD.replace("every: day", "every: moon"))
    assert bad.status_code == 422
    (error,) = bad.json()["errors"]
    assert error["field"] == "schedules.americas.layers[0].every"
    assert error["message"].startswith("line 2")
    for hostile in (b"\xff\xfe", b"a: \x00", b"x" * 600_000, b"", b"&a [*a]"):
        assert (await admin.put("/rota", content=hostile)).status_code in (413, 422)
    assert (await admin.get("/rota")).text == GOOD
    assert (await admin.get("/gaps/newest")).json()["gaps"] == put.json()["gaps"]
    assert len((await admin.get("/schedules")).json()["schedules"]) == 4


async def test_nobody_undoes_a_change_that_they_have_not_seen(admin):
    """Two people edit the same rota: the second one's PUT with If-Match is refused."""
    await admin.put("/rota", content=GOOD)
    seen = {"If-Match": (await admin.get("/rota")).headers["etag"]}
    assert (await admin.put("/rota", content=NO_GAPS, headers=seen)).status_code == 200
    late = await admin.put("/rota", content=GOOD, headers=seen)
    assert late.status_code == 409
    assert "no longer in force" in late.json()["detail"]
    assert (await admin.put("/rota", content=GOOD, headers={"If-Match": "x" * 40})).status_code == 409
    assert (await admin.get("/rota")).text == NO_GAPS


async def test_the_worker_looks_once_and_stops_when_told(staffed):
    """``run`` makes the day's look by itself and ends with the process."""
    stop = asyncio.Event()

    def last_look() -> datetime:
        stop.set()
        return NOW

    await run(staffed, None, last_look, stop)
    async with staffed.connection() as conn:
        look = await newest(conn)
    assert look is not None
    assert (look.occasion, look.at) == ("daily", NOW)


async def test_an_override_closes_a_gap_and_can_be_taken_back(admin):
    """Anna takes Bruno's week: no gap is left; taken back, the gap is there again."""
    await admin.put("/rota", content=GOOD)
    span = {"start": "2026-08-10T00:00:00+02:00", "end": "2026-08-17T00:00:00+02:00"}
    made = await admin.post(
        "/overrides", json={"schedule": "europe", "person": "anna", **span, "reason": "ok"}
    )
    assert made.status_code == 201
    assert made.json()["gaps"] == []
    at = {"at": "2026-08-12T12:00:00Z", "schedule": "europe"}
    (on,) = (await admin.get("/who", params=at)).json()["schedules"][0]["on_call"]
    assert (on["person"], on["layer"], on["until"]) == ("anna", "override", "2026-08-16T22:00:00Z")
    (listed,) = (await admin.get("/overrides")).json()["overrides"]
    assert listed["override_id"] == made.json()["override_id"]
    gone = await admin.delete(f"/overrides/{listed['override_id']}")
    assert len(gone.json()["gaps"]) == 1
    assert (await admin.delete(f"/overrides/{listed['override_id']}")).status_code == 404
    assert (await admin.delete(f"/overrides/{uuid4()}")).status_code == 404


BAD_OVERRIDES = (
    {"schedule": "nowhere"},
    {"person": "nobody"},
    {"person": "NOBODY"},
    {"instead_of": "anna"},
    {"end": "2026-08-01T00:00:00Z"},
    {"end": "2126-08-01T00:00:00Z"},
    {"start": "0001-01-01T00:00:00Z"},
    {"end": "9999-12-31T23:59:59-23:59"},
    {"start": "2026-08-10T00:00:00"},
    {"reason": "\x00"},
    {"surprise": 1},
)


async def test_a_bad_override_is_refused(admin):
    """Wrong names, times without a zone, out of any calendar or backwards: 422, and nothing is stored."""
    await admin.put("/rota", content=GOOD)
    good = {
        "schedule": "europe",
        "person": "anna",
        "start": "2026-08-10T00:00:00Z",
        "end": "2026-08-11T00:00:00Z",
    }
    for change in BAD_OVERRIDES:
        assert (await admin.post("/overrides", json=good | change)).status_code == 422, change
    assert (await admin.get("/overrides")).json() == {"overrides": []}


async def test_shifts_and_gaps_over_http(admin):
    """A month of shifts of one person; a stretch too long or backwards is refused."""
    await admin.put("/rota", content=GOOD)
    month = {"from": "2026-09-01T00:00:00Z", "to": "2026-10-01T00:00:00Z"}
    found = (await admin.get("/shifts", params=month | {"person": "anna"})).json()["shifts"]
    assert {shift["person"] for shift in found} == {"anna"}
    assert (await admin.get("/gaps", params=month)).json() == {"gaps": []}
    for bad in ({"to": "2026-08-01T00:00:00Z"}, {"to": "2030-01-01T00:00:00Z"}, {"from": "x"}):
        assert (await admin.get("/shifts", params=month | bad)).status_code == 422
    assert (await admin.get("/shifts", params=month | {"schedule": "nowhere"})).status_code == 404


AWAY = "\r\n".join(
    (
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "BEGIN:VEVENT",
        "UID:1",
        "DTSTART;VALUE=DATE:20260902",
        "DTEND;VALUE=DATE:20260904",
        "SUMMARY:Away",
        "END:VEVENT",
        "END:VCALENDAR",
        "",
    )
)


async def test_absences_are_imported_from_a_calendar_and_replaced_by_the_next_import(admin):
    """Two days away make a gap; an empty calendar later takes it back; rubbish changes nothing."""
    await admin.put("/rota", content=NO_GAPS)
    at = {"at": "2026-09-02T12:00:00Z", "schedule": "europe"}
    who = (await admin.get("/who", params=at)).json()["schedules"][0]["on_call"][0]["person"]
    sent = await admin.put(f"/absences/{who}/work", content=AWAY)
    assert sent.json()["absences"] == 1
    assert [(gap["start"], gap["end"]) for gap in sent.json()["gaps"]] == [
        ("2026-09-01T22:00:00Z", "2026-09-03T22:00:00Z")
    ]
    assert (await admin.put(f"/absences/{who}/work", content="rubbish")).status_code == 422
    assert len((await admin.get("/gaps/newest")).json()["gaps"]) == 1
    empty = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nEND:VCALENDAR\r\n"
    assert (await admin.put(f"/absences/{who}/work", content=empty)).json()["gaps"] == []
    assert (await admin.put("/absences/nobody/work", content=AWAY)).status_code == 404


async def test_a_feed_is_opened_by_its_secret_alone_until_it_is_closed(admin, staffed):
    """The URL works without a credential, the database holds no token, a closed feed is gone."""
    await admin.put("/rota", content=GOOD)
    made = (await admin.post("/feeds", json={"kind": "person", "name": "anna"})).json()
    path = made["url"].removeprefix("https://x.example/v1/oncall")
    body = await admin.get(path)
    assert body.headers["content-type"].startswith("text/calendar")
    names = {str(event["SUMMARY"]) for event in Calendar.from_ical(body.content).walk("VEVENT")}
    assert names == {"On call: Anna (europe)"}
    async with staffed.connection() as conn:
        (row,) = await (await conn.execute("SELECT token_hash FROM rota_feed")).fetchall()
    assert path.rsplit("/", 1)[1].removesuffix(".ics").encode() not in row[0]
    assert (await admin.get("/calendars/" + "x" * 43 + ".ics")).status_code == 404
    assert (await admin.get("/calendars/short.ics")).status_code in (404, 422)
    assert (await admin.post("/feeds", json={"kind": "schedule", "name": "nowhere"})).status_code == 404
    assert (await admin.delete(f"/feeds/{made['feed_id']}")).status_code == 204
    assert (await admin.get(path)).status_code == 404


async def test_customers_and_agents_read_nothing(staffed):
    """Rotas name our own people: a customer's key, even an administrator's, gets 403 everywhere."""
    for principal in (Principal("k", Role.ADMIN, tenant_id=1), Principal("a", Role.AGENT)):
        transport = httpx.ASGITransport(app(staffed, principal))
        async with httpx.AsyncClient(transport=transport, base_url="http://t/v1/oncall") as client:
            for path in ("/rota", "/schedules", "/who", "/overrides", "/feeds", "/gaps/newest"):
                assert (await client.get(path)).status_code == 403
            assert (await client.put("/rota", content=GOOD)).status_code == 403


async def test_fairness_over_http(admin):
    """The same numbers as the command's; holidays of a country that nobody knows are refused by name."""
    await admin.put("/rota", content=GOOD)
    span = {"from": "2026-01-05T00:00:00Z", "to": "2027-01-01T00:00:00Z", "schedule": "europe"}
    found = (await admin.get("/fairness", params=span)).json()["schedules"]
    assert list(found) == ["europe"]
    assert abs(sum(line["holiday_balance"] for line in found["europe"])) < 0.1
    assert sum(line["hours"] for line in found["europe"]) > 8000
    refused = await admin.get("/fairness", params=span | {"holidays": "XX"})
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "holidays")


async def test_a_long_look_ahead_is_not_cut_off(database_url, monkeypatch):
    """A rota whose look takes longer than the pool's limit for idle transactions is looked through all the
    same.

    Broken twin: under the limit the connection is gone before the look is written down (seen to fail)."""
    pool = await open_pool(database_url, max_size=1, idle_in_transaction_s=0.2)

    def slow(*words):
        time.sleep(0.8)
        return rota_gaps(*words)

    monkeypatch.setattr(watch, "rota_gaps", slow)
    try:
        async with pool.connection() as conn:
            for n, key in enumerate(STAFF):
                await conn.execute(PERSON, (key, key, None, f"+39058400000{n}", Jsonb([])))
            await save(conn, SMALL, NOW, "anna", 3600)
            look = await daily(conn, clock)
        assert look is not None
        assert look.fault is None
    finally:
        await pool.close()


SMALL = """zone: Europe/Rome
schedules:
  primary:
    layers: [{name: base, people: [anna, bruno], starts: 2026-01-05 09:00, every: week}]
"""
