"""Telling the customer: over real SMTP and HTTP on loopback, retried, in order, one effect per event."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
from standardwebhooks import Webhook

from alerting.evaluate import load_evaluator
from storage.pool import Pool
from ticketing import reading
from ticketing.actions import Actor, act
from ticketing.notify.mail import compose
from ticketing.notify.outbox import next_try, send_due, transports
from ticketing.notify.transport import Later, Never, Parcel
from ticketing.notify.webhook import Hook
from ticketing.settings import Settings
from ticketing.shapes import Resolve

from ..desk_world import CONTRACTS, MONDAY, World, registry
from .hook_server import HookServer
from .mail_server import MailServer
from .test_wording import message

SECRET = "whsec_" + "QUJD" * 8


class Office:
    """A world whose customer has a mail server and a webhook."""

    def __init__(self, world: World, mail: MailServer, hook: HookServer) -> None:
        self.world, self.mail, self.hook = world, mail, hook
        world.settings = Settings(
            smtp_host="127.0.0.1",
            smtp_port=mail.port,
            smtp_security="none",
            mail_from="support@vendor.example",
            webhook_private=True,
            notify_timeout_s=5,
        )

    async def send(self) -> int:
        """Send everything that is due now."""
        total, ways = 0, transports(self.world.settings)
        while sent := await send_due(self.world.pool, self.world.settings, ways, self.world.clock):
            total += sent
        return total

    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.mail.mails]


@pytest.fixture
async def office(pool: Pool) -> AsyncIterator[Office]:
    async with MailServer() as mail, HookServer() as hook:
        world = World(pool)
        await world.registry(
            registry(CONTRACTS)
            + f"  hooked: {{name: Hooked, webhooks: [{{url: '{hook.url}', secret: {SECRET}}}]}}\n"
        )
        await world.do(
            "UPDATE tenant SET facts = (SELECT facts FROM tenant WHERE key = 'hooked')"
            " WHERE key = 'platinum-co'"
        )
        yield Office(world, mail, hook)


async def test_a_tickets_life_is_told_in_order_and_in_the_readers_language(office: Office) -> None:
    """Opened, taken in charge, resolved: three mails in Italian and three signed webhooks, in that order."""
    world = office.world
    await world.fires()
    await world.round()
    await world.acknowledge()
    await world.round()
    resolve = Resolve(act="resolve", reason="riavviato")
    async with world.pool.connection() as conn:
        await act(conn, world.settings, world.now, Actor("carla", "test"), "UCX-2026-000001", resolve)
    await office.send()
    assert office.subjects() == [
        "[UCX-2026-000001] Ticket aperto: cpu is too high",
        "[UCX-2026-000001] Preso in carico: cpu is too high",
        "[UCX-2026-000001] Risolto: cpu is too high",
    ]
    mail = office.mail.mails[0]
    assert (mail["To"], mail["Content-Language"]) == ("anna@platinum-co.example", "it")
    assert mail.get_body(("html",)) is not None
    kinds = [msgspec.json.decode(body)["type"] for _, body in office.hook.requests]
    assert kinds == ["ticket.opened", "ticket.taken", "ticket.resolved"]


async def test_webhooks_are_signed_as_the_standard_says(office: Office) -> None:
    """The receiver's own library verifies id, time and signature."""
    await office.world.fires()
    await office.world.round()
    await office.send()
    [(headers, body)] = office.hook.requests
    identity, at = headers["webhook-id"], headers["webhook-timestamp"]
    assert at == str(int(MONDAY.timestamp()))
    assert headers["webhook-signature"] == Webhook(SECRET).sign(identity, MONDAY, body.decode())


async def test_failures_are_retried_under_the_same_identity(office: Office) -> None:
    """A busy receiver gets the same webhook-id again, a busy mail server the same mail, in order."""
    office.hook.answers, office.mail.answers = [503, 302], ["450 busy"]
    await office.world.fires()
    await office.world.round()
    await office.world.acknowledge()
    await office.world.round()
    await office.send()
    assert office.subjects() == []
    for _ in range(3):
        office.world.now += timedelta(minutes=10)
        await office.send()
    identities = [headers["webhook-id"] for headers, _ in office.hook.requests]
    assert len(identities) == 4
    assert len(set(identities)) == 2
    assert identities[0] == identities[1] == identities[2]
    assert [subject.split("] ")[1].split(":")[0] for subject in office.subjects()] == [
        "Ticket aperto",
        "Preso in carico",
    ]


async def test_refused_for_good_is_given_up_with_its_reason(office: Office) -> None:
    """A 550 and a 410 are not tried again; the row says why."""
    office.hook.answers, office.mail.answers = [410], ["550 no such user"]
    await office.world.fires()
    await office.world.round()
    await office.send()
    office.world.now += timedelta(days=1)
    assert await office.send() == 0
    rows = await office.world.rows("SELECT last_error FROM outbox WHERE given_up_at IS NOT NULL")
    assert len(rows) == 2


async def test_killed_after_sending_means_the_same_letter_again(office: Office) -> None:
    """A sender that dies before recording leaves a lease; when it has run out, the same letter goes again."""
    await office.world.fires()
    await office.world.round()
    await office.send()
    await office.world.do("UPDATE outbox SET sent_at = NULL, next_try_at = created_at, lease_until = now()")
    await asyncio.sleep(0.01)
    await office.send()
    first, second = office.mail.mails
    assert first["Message-ID"] == second["Message-ID"]


async def test_two_senders_send_each_letter_once(office: Office) -> None:
    """Four senders at once: no letter twice."""
    for n in range(6):
        await office.world.fires(rule=f"rule-{n}")
    await office.world.round()
    await asyncio.gather(*(office.send() for _ in range(4)))
    identities = [str(mail["Message-ID"]) for mail in office.mail.mails]
    assert len(identities) == len(set(identities)) == 6


async def test_escalations_are_mailed_to_the_people_of_the_role(office: Office) -> None:
    """The Support Regional Manager of the theatre gets the step's mail; the other theatre's does not."""
    await office.world.fires("gold-co")
    await office.world.wind(hours=2, minutes=1)
    await office.send()
    told = {str(mail["To"]) for mail in office.mail.mails if "Escalation" in str(mail["Subject"])}
    assert told == {"c@vendor.example"}


async def test_escalations_are_posted_to_our_own_webhook(office: Office) -> None:
    """Steps and targets at risk or missed go to the staff's webhook, signed with its own secret."""
    office.world.settings = msgspec.structs.replace(
        office.world.settings, staff_webhook_url=office.hook.url, staff_webhook_secret=SECRET
    )
    await office.world.fires("gold-co")
    await office.world.wind(hours=2, minutes=1)
    await office.send()
    posted = {json.loads(body)["type"] for _, body in office.hook.requests}
    assert "ticket.escalated" in posted
    assert posted <= {"ticket.escalated", "ticket.at_risk", "ticket.missed"}
    headers, body = office.hook.requests[0]
    at = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    assert headers["webhook-signature"] == Webhook(SECRET).sign(headers["webhook-id"], at, body.decode())


async def test_held_tickets_are_not_told(office: Office) -> None:
    """A customer hears nothing of a held ticket."""
    await office.world.fires("unpaid-co")
    await office.world.round()
    assert await office.send() == 0


INNER = [
    "127.0.0.1",
    "10.1.2.3",
    "169.254.169.254",
    "::1",
    "fd00::1",
    "::ffff:10.0.0.1",
    "64:ff9b::169.254.169.254",
    "0.0.0.0",
    "224.0.0.1",
]


@pytest.mark.parametrize("address", INNER)
async def test_webhooks_never_reach_inner_addresses(address: str) -> None:
    """A name that resolves to anything but the public internet is refused, whatever else it resolves to."""

    async def resolver(_host: str, _port: int) -> list[str]:
        return ["93.184.215.14", address]

    hook = Hook(Settings(), resolver)
    with pytest.raises(Never, match="public internet"):
        await hook.send(parcel("https://innocent.example/hook"))


@pytest.mark.parametrize("url", ["http://public.example/", "https:///x", "https://h:99999/", "ftp://h/"])
async def test_webhooks_need_https(url: str) -> None:
    """Anything but https with a host is refused."""
    with pytest.raises(Never):
        await Hook(Settings()).send(parcel(url))


def parcel(recipient: str) -> Parcel:
    return Parcel(recipient, message(), UUID(int=7), SECRET, MONDAY)


def test_impossible_addresses_are_given_up() -> None:
    """An address that no mail can carry is a final refusal, not a crash."""
    for address in ("", "a", "a@b\r\nBcc: c@d", "<>"):
        with pytest.raises(Never):
            compose(parcel(address), Settings())


def test_pauses_double_and_end() -> None:
    """15 s, 30 s, 60 s ... up to six hours; after three days it is given up; a final refusal at once."""
    settings = Settings()
    pauses = [next_try(Later("x"), n, MONDAY, MONDAY, settings) for n in (1, 2, 3, 20)]
    assert pauses == [MONDAY + timedelta(seconds=s) for s in (15, 30, 60, 6 * 3600)]
    assert next_try(Later("x"), 9, MONDAY, MONDAY + timedelta(hours=72), settings) is None
    assert next_try(Never("x"), 1, MONDAY, MONDAY, settings) is None


async def test_the_customer_is_told_of_the_problem_in_its_language_and_the_technician_in_english(
    office: Office,
) -> None:
    """Subject and body of the customer's mail name the problem in Italian, as the rule pack words it; the
    ticket's own title and the escalation mails of our people stay English; the ticket is read in any of ours.
    What the rule says later changes nothing: the title is that of the opening."""
    world = office.world
    async with world.pool.connection() as conn:
        await load_evaluator(conn)
    alert = await world.fires(rule="host.cpu")
    await world.do(
        "UPDATE alert SET summary = 'CPU of (cluster) is busy', pack_version = 1 WHERE alert_id = %s",
        alert.alert_id,
    )
    await world.round()
    await world.do("UPDATE alert SET summary = 'something else'")
    await world.wind(hours=3)
    await office.send()
    to_customer = [m for m in office.mail.mails if m["To"] == "anna@platinum-co.example"]
    to_staff = [m for m in office.mail.mails if m["To"] != "anna@platinum-co.example"]
    title = "La CPU di (cluster) è molto occupata"
    assert to_customer[0]["Subject"] == f"[UCX-2026-000001] Ticket aperto: {title}"
    plain = to_customer[0].get_body(("plain",))
    assert plain is not None
    assert f"Problema: {title}" in plain.get_content()
    assert to_staff, "nobody escalated"
    assert all("CPU of (cluster) is busy" in str(m["Subject"]) for m in to_staff)
    ticket = await world.ticket()
    assert ticket["title"] == "CPU of (cluster) is busy"
    assert set(ticket["titles"]) == {"it", "fr", "de", "es", "pt", "ar"}
    async with world.pool.connection() as conn:
        full = await reading.ticket_in_full(conn, "UCX-2026-000001", None, None, world.now)
    assert reading.in_words(full, "es")["title"] == "La CPU de (cluster) está muy ocupada"
    assert reading.in_words(full, "en")["title"] == "CPU of (cluster) is busy"
