"""The on-call line: a customer's PIN by telephone, from the first ring to the technician's own phone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
import pytest_asyncio

from oncall import inbound_api, pins, switch
from oncall.errors import PinRefused
from oncall.inbound import Guesses, gate
from oncall.pin import digest, is_pin, new_pin, shown
from oncall.settings import Settings, check
from oncall.simulator.call import Call
from oncall.voice.caller import spoken_phone
from oncall.voice.signature import sign
from storage.pool import Pool
from tests.oncall.lab import SID, TOKEN, Lab, lab
from tests.oncall.world import ANNA
from tests.ticketing.desk_world import World, registry
from ticketing import actions, desk
from ticketing.settings import Settings as DeskSettings
from ticketing.shapes import Priority
from wire.clock import utcnow

SECRET = "0123456789abcdef0123456789abcdef"
CALLER, STRANGER = "+390501112223", "+390509998887"
LONG = "start: 2024-01-01, autorenew: true"
CUSTOMERS = {
    "platinum-co": f"plan: platinum, {LONG}",
    "gold-co": f"plan: gold, {LONG}",
    "unpaid-co": f"plan: platinum, {LONG}, unpaid: true",
    "lapsed-co": "plan: platinum, start: 2023-01-01, end: 2025-01-01",
}


class Line:
    """Customers with PINs, our routes, and a phone company that customers ring."""

    def __init__(self, here: Lab, pins_of: dict[str, str]) -> None:
        self.here = here
        self.pins = pins_of
        self.heard: list[str] = []

    async def post(
        self, action: str, ref: str, turn: int, digits: str = "", caller: str = CALLER, token: str = TOKEN
    ) -> httpx.Response:
        """One signed webhook."""
        url = f"http://ours/v1/oncall/inbound/{action}?via=p1&turn={turn}"
        form = {"CallSid": ref, "AccountSid": SID, "From": caller, "To": "+15005550006"}
        form |= {"Digits": digits} if digits else {}
        headers = {"X-Twilio-Signature": sign(token, url, list(form.items()))}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return await self.here.http.post(url, content=urlencode(form), headers=headers)

    async def says(self, action: str, ref: str, turn: int = 1, digits: str = "", caller: str = CALLER) -> str:
        """What the caller hears."""
        answer = await self.post(action, ref, turn, digits, caller)
        assert answer.status_code == 200, answer.text
        self.heard.append(answer.text)
        return answer.text

    async def dial(self, *keys: str, number: str = CALLER) -> str:
        """A whole call through the phone company; everything that was said."""
        call = self.here.exchange.dial(number, list(keys))
        await self.over(call)
        return " ".join(call.lines)

    async def over(self, call: Call) -> None:
        """Until both have hung up."""
        async with asyncio.timeout(20):
            while not call.over:  # noqa: ASYNC110 - the company has no event for it
                await asyncio.sleep(0.01)

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        async with self.here.pool.connection() as conn:
            return await (await conn.execute(query.encode())).fetchall()

    async def desk(self) -> None:
        """Let the desk open what there is to open."""
        while await desk.work(self.here.pool, DeskSettings(), utcnow()):
            pass


@pytest_asyncio.fixture
async def line(pool: Pool) -> AsyncIterator[Line]:
    """Four customers with a PIN each; Anna is rung for them."""
    world = World(pool)
    await world.registry(registry(CUSTOMERS))
    await world.do("UPDATE person SET active = false")
    await world.do("INSERT INTO person (key, name, phone) VALUES ('anna', 'Anna', %s)", ANNA)
    async with lab(pool, pin_secret=SECRET, persons=("anna",), wrong_pins_per_hour=20) as here:
        here.apps["ours"].include_router(inbound_api.router(pool, here.settings, utcnow))
        here.exchange.voice_url = "http://ours/v1/oncall/inbound/call?via=p1"
        here.script(phones=[{"number": ANNA, "behaviour": "auto", "after_s": 1}])
        issued = {}
        async with pool.connection() as conn:
            for tenant in CUSTOMERS:
                place = await pins.place_of(conn, tenant, "main")
                issued[tenant] = await pins.issue(conn, here.settings, place, "sofia", utcnow())
        yield Line(here, issued)


async def test_a_right_pin_and_key_four_ring_the_technician_like_any_critical_ticket(line: Line) -> None:
    """Through the phone company, our routes, the desk and the pager: the customer rings, Anna's phone
    rings, her key takes the ticket in charge. A PIN without key 4 wakes nobody."""
    assert "nobody was alerted" in await line.dial(line.pins["platinum-co"])
    await line.desk()
    assert await line.rows("SELECT 1 FROM ticket") == []
    said = await line.dial(line.pins["platinum-co"], "4")
    assert "The technician on call is being alerted" in said
    await line.desk()
    [ticket] = await line.rows("SELECT priority, channel, state, opened_by, language FROM ticket")
    assert ticket == (1, "phone", "new", "on-call-line", "en")
    await line.here.pager().sync()
    await line.here.look_until("SELECT true FROM acknowledgement")
    await line.desk()
    assert await line.rows("SELECT state, taken_by FROM ticket") == [("taken", "Anna")]
    assert line.here.called() == [ANNA]
    [(reason,)] = await line.rows("SELECT reason FROM page_request")
    assert "latinum" in reason
    heard = " ".join(line for call in line.here.exchange.calls.values() for line in call.lines)
    assert f"call back {CALLER}" in heard, "the technician hears whom to call back"


async def test_a_phone_of_the_simulator_rings_us_by_its_control_api_and_page(line: Line) -> None:
    """``POST /phones/NUMBER/dial`` with keys by script, and the page shows the call; bad input is told."""
    http, url = line.here.http, "http://company/phones"
    body = {"keys": [line.pins["platinum-co"], "4"]}
    placed = await http.post(f"{url}/%2B390501112223/dial", json=body)
    assert (placed.status_code, placed.json()["inbound"]) == (201, True)
    await line.over(line.here.exchange.calls[placed.json()["sid"]])
    assert await line.rows("SELECT confirmed_at IS NOT NULL FROM on_call_report") == [(True,)]
    state = (await http.get("http://company/state")).json()
    assert state["takes_calls"]
    assert CALLER in [phone["number"] for phone in state["phones"] if phone["call"]]
    assert (await http.post(f"{url}/nobody/dial")).status_code == 400
    assert (await http.post(f"{url}/%2B390501112223/dial", json={"keys": ["four"]})).status_code == 400
    line.here.exchange.voice_url = ""
    assert (await http.post(f"{url}/%2B390501112223/dial")).status_code == 409


async def test_three_wrong_pins_end_the_call_politely_and_are_counted(line: Line) -> None:
    """Wrong, too short, wrong: good-bye, three counted; the fourth call of that number may still try."""
    said = await line.dial("0000000000", "123", "9999999999")
    assert said.count("That PIN is not right") == 3
    assert "Good bye" in said
    assert await line.rows("SELECT wrong, outcome, caller FROM inbound_call") == [(3, "turned_away", CALLER)]
    assert "Your PIN is right" in await line.dial("0000000000", line.pins["platinum-co"], "1")
    assert await line.rows("SELECT sum(wrong)::int FROM inbound_call") == [(4,)]


@pytest.mark.parametrize("customer", ["gold-co", "unpaid-co", "lapsed-co"])
async def test_who_is_not_entitled_is_told_where_to_call_and_wakes_nobody(line: Line, customer: str) -> None:
    """The theatre's number, digit by digit, twice; key 4 does nothing."""
    said = await line.dial(line.pins[customer], "4")
    assert said.count(spoken_phone("+39 0584943232")) == 2
    await line.desk()
    assert await line.rows("SELECT served, confirmed_at FROM on_call_report") == [(False, None)]
    assert "REPORTED" not in said
    assert (await line.post("confirm", "CA1", 1, "4")).status_code == 200
    assert await line.rows("SELECT 1 FROM ticket") == []


async def test_repeated_and_replayed_webhooks_change_nothing(line: Line) -> None:
    """Each webhook ten times at once and again at the end: one call, one report, one confirmation at its
    first time, one ticket; a wrong PIN repeated counts once.

    Broken twin: counting without the turn makes a repeated wrong PIN three guesses (seen to fail)."""
    pin = line.pins["platinum-co"]
    for action, turn, digits in (
        ("call", 1, ""),
        ("pin", 1, "0000000000"),
        ("pin", 2, pin),
        ("confirm", 1, "4"),
    ):
        answers = await asyncio.gather(*(line.says(action, "CA7", turn, digits) for _ in range(10)))
        assert len(set(answers)) == 1, action
    [(at, wrong)] = await line.rows(
        "SELECT confirmed_at, wrong FROM on_call_report JOIN inbound_call USING (call_no)"
    )
    assert wrong == 1
    for action, turn, digits in (("pin", 2, pin), ("confirm", 1, "4"), ("confirm", 1, "1"), ("call", 1, "")):
        assert "recorded as a critical ticket" in await line.says(action, "CA7", turn, digits)
    await line.desk()
    await line.desk()
    assert await line.rows("SELECT confirmed_at FROM on_call_report") == [(at,)]
    assert await line.rows("SELECT opened_at FROM ticket") == [(at,)]


async def test_forged_webhooks_are_refused_before_anything_is_read(line: Line) -> None:
    """Another key, no signature, another provider, another address: 403, no row."""
    pin = line.pins["platinum-co"]
    good = await line.post("call", "CA1", 1)
    url = "http://ours/v1/oncall/inbound/pin?via=p1&turn=1"
    answers = [
        await line.post("pin", "CA9", 1, pin, token="wrong"),
        await line.here.http.post(url, data={"CallSid": "CA9", "Digits": pin}),
        await line.here.http.post(url, content=good.request.content, headers=good.request.headers),
        await line.here.http.post(url.replace("p1", "p9"), data={"CallSid": "CA9"}),
    ]
    assert [answer.status_code for answer in answers] == [403] * 4
    for nameless in ("", "x" * 65):
        assert (await line.post("call", nameless, 1)).status_code == 400
    assert await line.rows("SELECT provider_ref FROM inbound_call") == [("CA1",)]
    assert await line.rows("SELECT 1 FROM on_call_report") == []


async def test_guesses_are_limited_for_a_number_and_for_all_also_side_by_side(line: Line) -> None:
    """Fifteen calls at once from one number try a wrong PIN: six are looked at. From twenty numbers: twenty
    in all in an hour (the setting here); then strangers are turned away and operations know, while a
    customer's own number is still asked, and its right PIN still rings.

    Broken twin: counting after the look instead of before it lets all fifteen pass (seen to fail)."""
    for n in range(15):
        await line.says("call", f"CA{n}")
    await asyncio.gather(*(line.says("pin", f"CA{n}", 1, "0000000000") for n in range(15)))
    assert await line.rows("SELECT sum(wrong)::int FROM inbound_call") == [(6,)]
    assert "No further PIN" in await line.says("call", "CA99")
    for n in range(20):
        number = f"+39050000{n:04}"
        await line.says("call", f"CB{n}", caller=number)
    others = (line.says("pin", f"CB{n}", 1, "0000000000", f"+39050000{n:04}") for n in range(20))
    await asyncio.gather(*others)
    assert await line.rows("SELECT sum(wrong)::int FROM inbound_call") == [(20,)]
    assert await line.rows("SELECT kind, urgent FROM oncall_alarm") == [("pin_guessing", False)]
    assert "No further PIN" in await line.says("call", "CC1", caller=STRANGER)
    async with line.here.pool.connection() as conn:
        await conn.execute("UPDATE contact SET phone = %s", (STRANGER,))
    assert "Please enter" in await line.says("call", "CC2", caller=STRANGER)
    assert "Your PIN is right" in await line.says("pin", "CC2", 1, line.pins["platinum-co"], STRANGER)


def test_a_withheld_number_is_nobodys_limit() -> None:
    """All who withhold their number share none: one of them must not lock out the others."""
    settings = Settings()
    assert gate(Guesses(6, 6, False), settings) == "caller"
    assert gate(Guesses(6, 6, True), settings) == "ask", "a customer's own number has more patience"
    assert gate(Guesses(18, 18, True), settings) == "caller"
    assert gate(Guesses(5, 60, False), settings) == "everybody"
    assert gate(Guesses(5, 60, True), settings) == "ask"
    assert gate(Guesses(0, 59, False), settings) == "ask"


async def test_nothing_of_any_customer_is_ever_spoken_or_kept_of_a_pin(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    """All that four customers hear is the same but for the number to call, no name among it; no PIN stands
    in any table, log line or document."""
    caplog.set_level(logging.DEBUG)
    for n, (customer, pin) in enumerate(line.pins.items()):
        await line.says("call", f"CA{n}")
        await line.says("pin", f"CA{n}", 1, "1234567890")
        await line.says("pin", f"CA{n}", 2, pin)
        await line.says("confirm", f"CA{n}", 1, "4")
        assert customer not in " ".join(line.heard).lower()
    await line.desk()
    spoken = " ".join(line.heard).lower()
    names = ("platinum", "gold", "unpaid", "lapsed", "main site", "anna", "ucx-2")
    assert [name for name in names if name in spoken] == []
    tables = await line.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    dump = str([await line.rows(f"SELECT to_jsonb(t)::text FROM {table} t") for (table,) in tables])
    for pin in [*line.pins.values(), "1234567890"]:
        assert pin not in dump
        assert pin not in caplog.text
        assert pin not in spoken.replace(" ", "")


async def test_ringing_again_before_anybody_answered_is_a_note_afterwards_a_ticket_of_its_own(
    line: Line,
) -> None:
    """Twice in a row: one ticket, one page. After Anna took it, a third call opens the second ticket."""
    for _ in range(2):
        await line.dial(line.pins["platinum-co"], "4")
        await line.desk()
    assert await line.rows("SELECT count(*) FROM ticket") == [(1,)]
    assert await line.rows("SELECT outcome FROM on_call_report_progress ORDER BY report_id") == [
        ("opened",),
        ("noted",),
    ]
    await line.here.pager().sync()
    await line.here.look_until("SELECT true FROM acknowledgement")
    await line.desk()
    await line.dial(line.pins["platinum-co"], "4")
    await line.desk()
    assert await line.rows("SELECT state FROM ticket ORDER BY ticket_id") == [("taken",), ("new",)]


async def test_ringing_again_after_the_first_ticket_was_lowered_rings_again(line: Line) -> None:
    """A person made the first ticket P3, so nobody is rung for it any more: the second call is a ticket of
    its own and rings, as its caller was promised.

    Broken twin: a note on any ticket that nobody took wakes nobody (seen: it was so)."""
    await line.dial(line.pins["platinum-co"], "4")
    await line.desk()
    [(number,)] = await line.rows("SELECT number FROM ticket")
    async with line.here.pool.connection() as conn:
        lower = Priority(act="priority", to=3, reason="one extension only")
        await actions.act(conn, DeskSettings(), utcnow(), actions.Actor("sofia", "test"), number, lower)
    await line.dial(line.pins["platinum-co"], "4")
    await line.desk()
    assert await line.rows("SELECT priority FROM ticket ORDER BY ticket_id") == [(3,), (1,)]
    assert await line.rows("SELECT count(*) FROM page_request WHERE ended_at IS NULL") == [(1,)]


async def test_a_rotated_pin_opens_nothing_and_the_new_one_does(line: Line) -> None:
    """Issue refuses a second; rotate replaces at once; revoke ends; each says what to do."""
    old, settings, now = line.pins["platinum-co"], line.here.settings, utcnow()
    async with line.here.pool.connection() as conn:
        place = await pins.place_of(conn, "platinum-co", "main")
        with pytest.raises(PinRefused, match="rotate"):
            await pins.issue(conn, settings, place, "sofia", now)
        new = await pins.rotate(conn, settings, place, "sofia", now)
    assert "not right" in await line.dial(old)
    assert "Your PIN is right" in await line.dial(new)
    async with line.here.pool.connection() as conn:
        await pins.revoke(conn, place, "sofia", now)
        with pytest.raises(PinRefused, match="no PIN in force"):
            await pins.rotate(conn, settings, place, "sofia", now)
        with pytest.raises(PinRefused, match="no deployment"):
            await pins.place_of(conn, "platinum-co", "nowhere")
        with pytest.raises(PinRefused, match="pin_secret"):
            await pins.issue(conn, Settings(), place, "sofia", now)
    assert "not right" in await line.dial(new)


async def test_without_a_secret_or_a_database_the_caller_hears_where_to_turn(pool: Pool) -> None:
    """Never an error tone: a closed line says so, and so does one that fails, which operations are told."""
    for secret, pieces in (("", "cannot check your PIN"), (SECRET, "out of order")):
        async with lab(pool, pin_secret=secret) as here:
            here.apps["ours"].include_router(inbound_api.router(pool, here.settings, utcnow))
            if secret:
                async with pool.connection() as conn:
                    await conn.execute("ALTER TABLE inbound_call RENAME TO gone")
            line = Line(here, {})
            assert pieces in await line.says("call", "CA1")
            broken = [("line_broken", True)] if secret else []
            assert await line.rows("SELECT kind, urgent FROM oncall_alarm") == broken


async def test_nobody_promises_a_technician_while_paging_is_switched_off(line: Line) -> None:
    """The report is kept and becomes a ticket; the caller hears that nobody can be alerted by telephone."""
    async with line.here.pool.connection() as conn:
        await switch.turn(conn, on=False, who="sofia", reason="restored", now=utcnow())
    said = await line.dial(line.pins["platinum-co"], "4")
    assert "nobody can be alerted by telephone" in said
    assert "is being alerted" not in said
    await line.desk()
    assert await line.rows("SELECT priority FROM ticket") == [(1,)]


async def test_calls_that_came_to_nothing_are_forgotten(line: Line) -> None:
    """After 30 days the caller's number is gone; a reported call stays with its report."""
    await line.dial("0000000000")
    await line.dial(line.pins["platinum-co"], "4")
    async with line.here.pool.connection() as conn:
        await conn.execute("UPDATE inbound_call SET begun_at = begun_at - interval '31 days'")
    await line.says("call", "CA1")
    assert await line.rows("SELECT outcome FROM inbound_call ORDER BY call_no") == [
        ("identified",),
        ("asking",),
    ]


def test_a_pin_is_ten_digits_and_its_digest_is_keyed() -> None:
    """The same PIN and secret: the same digest; another secret: another one; the PIN does not show in it."""
    pin = new_pin()
    assert is_pin(pin)
    assert not any(map(is_pin, ("", "123", pin + "1", "12345 6789", "١٢٣٤٥٦٧٨٩٠", "123456789\n")))
    assert shown("1234567890") == "12345 67890"
    assert digest(SECRET, pin) == digest(SECRET, pin) != digest(SECRET[::-1], pin)
    assert len(digest(SECRET, pin)) == 32
    with pytest.raises(Exception, match="pin_secret: at least 32"):
        check(Settings(pin_secret="short"))


def test_a_phone_number_is_spoken_digit_by_digit() -> None:
    """As the policy writes them."""
    assert spoken_phone("+39 0584943232") == "plus 3 9, 0 5 8 4 9 4 3 2 3 2"
    assert spoken_phone("+1 305 5013030") == "plus 1, 3 0 5, 5 0 1 3 0 3 0"
