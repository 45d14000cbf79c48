"""The auditor as it runs: its own files, a real phone company, a database that comes and goes."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oncall.auditor.files import AnotherAuditor, Files
from oncall.auditor.listener import application
from oncall.auditor.phone import instructions
from oncall.auditor.program import Auditor
from oncall.auditor.settings import Listen, Settings
from oncall.settings import VoiceProvider
from oncall.simulator.call import Account, Pace
from oncall.simulator.exchange import Exchange
from oncall.simulator.instructions import parse
from oncall.simulator.journal import Journal
from oncall.simulator.script import Behaviour, Change, Phone, Script
from oncall.simulator.web import application as company
from tests.oncall.lab import OWN, SID, TOKEN, OnTheWire
from tests.oncall.world import ANNA, BEN, Registry
from wire.clock import utcnow

MUTED = "UPDATE alert SET silenced = 'maintenance'"


class World:
    """An auditor whose clock the test winds, its phone company, and the watchdog outside."""

    def __init__(self, url: str, settings: Settings, http: httpx.AsyncClient, exchange: Exchange) -> None:
        self.exchange = exchange
        self.beats = 0
        self.later = timedelta()
        self._made = (url, settings, http)
        self.files = Files(Path(settings.directory), self.clock)
        self.auditor = self.begin(url)

    def begin(self, url: str) -> Auditor:
        """The auditor, started (again)."""
        _, settings, http = self._made
        self.auditor = Auditor(url, settings, self.clock, self.files, http)
        return self.auditor

    def clock(self) -> datetime:
        return utcnow() + self.later

    def script(self, **change: Any) -> None:
        self.exchange.script.change(msgspec.convert(change, Change))

    async def turns(self, minutes: float = 0.0) -> None:
        """Time passes; then turns until no call is under way."""
        self.later += timedelta(minutes=minutes)
        await self.auditor.turn()
        async with asyncio.timeout(10):
            while self.auditor.state.call is not None:
                await asyncio.sleep(0.05)
                await self.auditor.turn()

    def called(self) -> list[str]:
        return [call.order.to for call in self.exchange.calls.values()]

    def journal(self, kind: str) -> list[str]:
        """Texts of the journal's lines of that kind."""
        path = Path(self._made[1].directory) / "journal.jsonl"
        lines = [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]
        return [line["text"] for line in lines if line["kind"] == kind]

    async def beat(self, request: Request) -> Response:
        self.beats += 1
        return Response("OK")


@asynccontextmanager
async def world(url: str, directory: Path, **changes: Any) -> AsyncIterator[World]:
    """Everything in one loop; HTTP through ASGI."""
    provider = VoiceProvider("fallback", "http://company", SID, TOKEN, OWN)
    settings = Settings(
        provider=provider,
        listen=Listen("http://auditor"),
        directory=str(directory),
        heartbeat_url="http://watchdog/",
        **changes,
    )
    apps: dict[str, Any] = {}
    log = Journal(None, utcnow)
    async with httpx.AsyncClient(transport=OnTheWire(apps)) as http:
        script = Script(Phone("", "", Behaviour.NO_ANSWER))
        account = Account(SID, TOKEN, frozenset({OWN}))
        exchange = Exchange(account, script, http, log, utcnow, lambda line: None, Pace(0.02, 0.02))
        here = World(url, settings, http, exchange)
        apps["company"] = company(exchange, log)

        async def pressed(nonce: str, digits: str) -> bool:
            return await here.auditor.pressed(nonce, digits)

        apps["auditor"] = application(settings, pressed)
        apps["watchdog"] = Starlette(routes=[Route("/", here.beat, methods=["POST"])])
        try:
            yield here
        finally:
            await exchange.close()
            here.files.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "auditor"


@pytest.fixture
def staffed(registry: Registry) -> Registry:
    """Anna and Ben hold the role on-call; the rota was looked at a moment ago."""
    registry.run("""UPDATE person SET roles = '[{"role": "on-call"}]' WHERE key IN ('anna', 'ben')""")
    registry.run(
        "INSERT INTO rota_gap_check (checked_at, occasion, starts, ends, gaps)"
        " VALUES (now() + interval '1 day', 'daily', now(), now(), 0)"
    )
    return registry


def critical(registry: Registry, *, ticket: bool) -> None:
    """A P1 alert that fires since now, with or without a ticket whose page request is open."""
    registry.request("disk exhausted")
    registry.run(
        "INSERT INTO alert (tenant_id, deployment_id, rule_id, problem_key, state, priority, since, fired_at,"
        " summary, last_seq, changed_at)"
        " SELECT tenant_id, deployment_id, 'disk', 'k', 'firing', 1, now(), now(),"
        " 'The disk of db1 is exhausted', 1, now() FROM deployment"
    )
    if ticket:
        registry.run(
            "INSERT INTO ticket_alert SELECT a.tenant_id, ticket_id, a.alert_id, true FROM alert a, ticket"
        )


@pytest.mark.parametrize("ticket", [True, False])
async def test_a_critical_alert_that_rang_nobody_rings_through_the_other_provider(
    staffed: Registry, directory: Path, ticket: bool
) -> None:
    """No pager runs: after five minutes Anna is rung, after her Ben; his key 4 ends it. It starts from
    the alert, so a desk that made no ticket is found as well."""
    critical(staffed, ticket=ticket)
    async with world(staffed.url, directory) as here:
        here.script(phones=[{"number": BEN, "behaviour": "auto", "after_s": 1}])
        await here.turns()
        assert here.called() == []
        assert here.beats == 1
        await here.turns(6)
        assert here.called() == [ANNA]
        await here.turns(2)
        assert here.called() == [ANNA, BEN]
        assert "disk of db1 is exhausted" in " ".join(next(reversed(here.exchange.calls.values())).lines)
        assert here.journal("acknowledged") == ["Ben pressed 4"]
        await here.turns(30)
        assert len(here.called()) == 2
    kinds = [kind for (kind,) in staffed.rows("SELECT kind FROM auditor_entry ORDER BY at")]
    assert kinds[:2] == ["finding", "call"]
    assert "acknowledged" in kinds


def answered(registry: Registry) -> None:
    """Somebody presses key 4, a minute from now."""
    registry.run(
        "INSERT INTO acknowledgement (tenant_id, page_request_id, ticket_id, person_id, at, channel, proof)"
        " SELECT tenant_id, page_request_id, ticket_id, 1, now() + interval '1 minute', 'voice', '{}'"
        " FROM page_request"
    )


async def test_an_answer_that_the_desk_never_takes_note_of_rings(staffed: Registry, directory: Path) -> None:
    """Key 4 was pressed and is parked at the desk: on-call rings no more, the ticket waits for nobody. It is
    found once nobody can still be expected to act on it.

    Broken twin (tried): an answer for ever good enough, it was found by nobody."""
    critical(staffed, ticket=True)
    answered(staffed)
    async with world(staffed.url, directory) as here:
        await here.turns(60)
        assert here.called()[0] == ANNA
        assert "does not know of it" in " ".join(here.journal("finding"))


async def test_an_answered_page_and_a_muted_alert_leave_it_alone(staffed: Registry, directory: Path) -> None:
    """Answered: nothing. Asked for again after that: it rings. Muted: nothing."""
    critical(staffed, ticket=True)
    answered(staffed)
    async with world(staffed.url, directory) as here:
        await here.turns(10)
        assert here.called() == []
        staffed.run("UPDATE page_request SET ended_at = now() + interval '2 minutes'")  # the desk's
        await here.turns(50)
        assert here.called() == []
        staffed.run("UPDATE page_request SET requested_at = now() + interval '30 minutes', ended_at = NULL")
        staffed.run(MUTED)
        await here.turns()
        assert here.called() == []
        staffed.run("UPDATE alert SET silenced = NULL")
        await here.turns()
        assert len(here.called()) == 1


async def test_a_customer_who_was_told_is_no_technician(staffed: Registry, directory: Path) -> None:
    """The customer's phone rang and key 4 confirmed the notice; no technician's did: found all the same.

    Broken twin: any ringing phone and any answer taken for the technician's finds nothing (seen: it was
    so)."""
    critical(staffed, ticket=True)
    staffed.run(
        "INSERT INTO page_request (tenant_id, ticket_id, audience, policy, requested_at, reason)"
        " SELECT tenant_id, ticket_id, 'customer', 'customer', now(), 'notice' FROM page_request"
    )
    staffed.run(
        "INSERT INTO page (tenant_id, page_id, page_request_id, person_id, transport, step, round, fence,"
        " state, provider, created_at, ringing_at)"
        " SELECT tenant_id, gen_random_uuid(), page_request_id, -1, 'voice', 0, 1, 1, 'acknowledged', 'p1',"
        " now(), now() + interval '1 minute'"
        " FROM page_request WHERE audience = 'customer'"
    )
    staffed.run(
        "INSERT INTO acknowledgement (tenant_id, page_request_id, ticket_id, contact_id, at, channel, proof)"
        " SELECT tenant_id, page_request_id, ticket_id, 1, now() + interval '1 minute', 'voice', '{}'"
        " FROM page_request WHERE audience = 'customer'"
    )
    async with world(staffed.url, directory) as here:
        await here.turns(6)
        assert here.called() == [ANNA]
        assert "No phone has rung" in here.journal("finding")[0]


async def test_a_database_out_of_reach_rings_the_numbers_kept_on_disk(
    staffed: Registry, directory: Path
) -> None:
    """The numbers were cached (mode 0600); the database goes; after two minutes Anna is rung, the heartbeat
    stops; without an answer the calls grow rare; and a restarted auditor goes on counting."""
    async with world(staffed.url, directory) as here:
        await here.turns()
        assert stat.S_IMODE((directory / "people.json").stat().st_mode) == 0o600
        beats = here.beats
        here.begin("host=127.0.0.1 port=1 dbname=gone connect_timeout=1")
        await here.turns()
        assert here.called() == []
        await here.turns(3)
        assert here.called() == [ANNA]
        for _ in range(4 * 60):
            await here.turns(1)
        assert 5 <= len(here.called()) <= 12
        before = len(here.called())
        here.begin("host=127.0.0.1 port=1 dbname=gone connect_timeout=1")
        await here.turns()
        assert len(here.called()) == before
        assert here.beats == beats
        assert set(here.journal("heartbeat_withheld")) == {"the database is out of reach"}
        here.begin(staffed.url)
        await here.turns()
        assert here.beats == beats + 1
    assert staffed.value("SELECT count(*) FROM auditor_entry WHERE kind = 'call'") == before


async def test_voicemail_is_not_a_person_and_a_forged_key_is_not_one_either(
    staffed: Registry, directory: Path
) -> None:
    """Both phones go to voicemail and somebody forges key 4: not heard, not acknowledged, no heartbeat."""
    critical(staffed, ticket=False)
    async with world(staffed.url, directory) as here:
        here.script(default={"number": "", "behaviour": "voicemail", "after_s": 1})
        here.later += timedelta(minutes=6)
        await here.auditor.turn()
        call = here.auditor.state.call
        assert call is not None
        transport = httpx.ASGITransport(application(here._made[1], here.auditor.pressed))
        async with httpx.AsyncClient(transport=transport) as http:
            forged = await http.post(f"http://auditor/calls/{call.nonce}/key", data={"Digits": "4"})
        assert forged.status_code == 403
        await here.turns()
        await here.turns(16)
        beats = here.beats
        await here.turns(1)
        assert here.journal("acknowledged") == []
        assert here.journal("heard") == []
        assert here.beats == beats


async def test_two_auditors_on_one_directory_would_ring_twice(directory: Path) -> None:
    """The second one is refused; a broken state file stops nobody."""
    first = Files(directory, utcnow)
    with pytest.raises(AnotherAuditor):
        Files(directory, utcnow)
    first.close()
    (directory / "state.json").write_text("{")
    second = Files(directory, utcnow)
    assert second.state().concerns == ()
    assert (directory / "state.broken").exists()
    second.close()


def test_instructions_fit_into_the_request_whatever_is_said() -> None:
    """At most 4,000 characters, well-formed, also when every character is escaped or illegal in XML."""
    for text in ("short", "&" * 3000, "\x00\x1f<>" * 900, "x" * 50_000):
        document = instructions(text, "https://auditor.example/calls/n/key")
        assert len(document) <= 4000
        assert parse(document.encode(), "")
