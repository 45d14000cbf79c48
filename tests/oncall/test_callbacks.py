"""The provider's callbacks: signed or refused, and in any order, number and lateness the same end."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest_asyncio

from oncall.voice.signature import sign
from storage.pool import Pool
from tests.oncall.lab import SID, TOKEN, Lab, lab
from tests.oncall.world import ANNA, Registry

CALL = "CA" + "1" * 32


class Told:
    """One page in the database, and a provider that tells us of it."""

    def __init__(self, here: Lab, registry: Registry) -> None:
        self.here = here
        self.registry = registry
        self.tenant_id, self.page_id = registry.rows("SELECT tenant_id, page_id FROM page")[0]

    async def tell(
        self, action: str, token: str = TOKEN, query: str = "via=p1", **fields: str
    ) -> httpx.Response:
        """A callback, signed with ``token``."""
        url = f"http://ours/v1/oncall/voice/{self.tenant_id}/{self.page_id}/{action}?{query}"
        form = {"CallSid": CALL, "AccountSid": SID, "To": ANNA} | fields
        headers = {"X-Twilio-Signature": sign(token, url, list(form.items()))}
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        return await self.here.http.post(url, content=urlencode(form), headers=headers)

    async def state(self) -> tuple[Any, ...]:
        """Everything that callbacks can change, but times."""
        return (
            await self.here.value("SELECT state FROM page"),
            await self.here.value("SELECT state FROM paging"),
            await self.here.value("SELECT count(*) FROM acknowledgement"),
        )


@pytest_asyncio.fixture
async def told(pool: Pool, registry: Registry) -> AsyncIterator[Told]:
    """A page that the provider has accepted; the provider itself says nothing."""
    registry.request()
    async with lab(pool) as here:
        here.script(faults=[{"kind": "never-rings"}])
        await here.pager().sync()
        await here.look_until("SELECT true FROM page WHERE state = 'placed'")
        yield Told(here, registry)


async def test_key_4_acknowledges_once_whatever_is_repeated(told: Told) -> None:
    """Ten replays of the same keypress, at the same time: one row, and each answer is polite."""
    answers = await asyncio.gather(*(told.tell("gather", Digits="4") for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert all("Acknowledged" in answer.text for answer in answers)
    assert await told.state() == ("acknowledged", "acknowledged", 1)


async def test_forged_callbacks_change_nothing(told: Told) -> None:
    """Another key, another URL, no signature, an unknown provider: 403, and the state stays."""
    before = await told.state()
    answers = [
        await told.tell("gather", token="wrong", Digits="4"),
        await told.tell("gather", query="via=nobody", Digits="4"),
        await told.here.http.post(
            f"http://ours/v1/oncall/voice/{told.tenant_id}/{told.page_id}/gather?via=p1", data={"Digits": "4"}
        ),
    ]
    signed = await told.tell("status", CallStatus="ringing")
    assert signed.status_code == 204
    replayed_elsewhere = await told.here.http.post(
        str(signed.request.url).replace("status", "gather"),
        content=signed.request.content + b"&Digits=4",
        headers=signed.request.headers,
    )
    assert [a.status_code for a in [*answers, replayed_elsewhere]] == [403] * 4
    assert before == ("placed", "active", 0)
    assert await told.state() == ("ringing", "active", 0)


async def test_any_order_of_a_calls_callbacks_ends_the_same(told: Told) -> None:
    """All orders of ringing, answered, key 4 and completed: acknowledged, once."""
    news: list[tuple[str, dict[str, str]]] = [
        ("status", {"CallStatus": "ringing"}),
        ("twiml", {"CallStatus": "in-progress", "AnsweredBy": "human"}),
        ("gather", {"CallStatus": "in-progress", "Digits": "4"}),
        ("status", {"CallStatus": "completed", "AnsweredBy": "human"}),
    ]
    for order in itertools.permutations(news):
        await asyncio.to_thread(told.registry.run, "TRUNCATE acknowledgement")
        await asyncio.to_thread(told.registry.run, "UPDATE page SET state = 'placed', provider_ref = NULL")
        await asyncio.to_thread(told.registry.run, "UPDATE paging SET state = 'active', next_look_at = now()")
        for action, fields in order:
            assert (await told.tell(action, **fields)).is_success
        assert await told.state() == ("acknowledged", "acknowledged", 1), order


async def test_a_key_counts_after_the_paging_moved_on_and_the_fence_too(told: Told) -> None:
    """The next person is being rung when the first presses 4: it counts, at that moment."""
    await asyncio.to_thread(told.registry.run, "UPDATE paging SET fence = fence + 7, step = 1")
    await asyncio.to_thread(told.registry.run, "UPDATE page SET state = 'no_answer'")
    assert (await told.tell("gather", Digits="4")).status_code == 200
    assert await told.state() == ("acknowledged", "acknowledged", 1)


async def test_a_key_after_the_end_is_recorded_and_the_callee_told(told: Told) -> None:
    """Recovered in the meantime: the keypress is a fact and is kept; the menu is not offered any more."""
    request = told.registry.rows("SELECT tenant_id, page_request_id FROM page_request")[0]
    await asyncio.to_thread(told.registry.end, (request[0], request[1]), "the problem recovered")
    await told.here.pager().sync()
    heard = await told.tell("twiml", CallStatus="in-progress")
    assert "the problem recovered" in heard.text
    assert "<Gather" not in heard.text
    assert (await told.tell("gather", Digits="4")).status_code == 200
    assert await told.state() == ("acknowledged", "ended", 1)


async def test_a_machine_is_not_an_answer(told: Told) -> None:
    """Voicemail: the message is read once, the page is over, nobody has acknowledged."""
    heard = await told.tell("twiml", CallStatus="in-progress", AnsweredBy="machine_start")
    assert "<Redirect" not in heard.text
    assert await told.state() == ("voicemail", "active", 0)


async def test_wrong_keys_read_the_menu_again(told: Told) -> None:
    """A key without a meaning says so; 1 repeats; neither changes the state."""
    await told.tell("twiml", CallStatus="in-progress", AnsweredBy="human")
    wrong, repeat = await told.tell("gather", Digits="7"), await told.tell("gather", Digits="1")
    assert "means nothing" in wrong.text
    assert "means nothing" not in repeat.text
    assert "Press 4" in wrong.text
    assert await told.state() == ("answered", "active", 0)


async def test_bad_input_is_refused_without_a_5xx(told: Told) -> None:
    """Signed nonsense and unsigned nonsense: precise refusals."""
    url = f"http://ours/v1/oncall/voice/{told.tenant_id}"
    http, good = told.here.http, told.page_id
    answers = {
        "no such page": (await told_other(told)).status_code,
        "no page id": (await http.post(f"{url}/nonsense/status?via=p1")).status_code,
        "huge tenant": (
            await http.post(f"http://ours/v1/oncall/voice/{2**70}/{good}/status?via=p1")
        ).status_code,
        "no provider": (await http.post(f"{url}/{good}/status")).status_code,
        "not ascii": (await http.post(f"{url}/{good}/status?via=p1", content=b"\xff\xfe")).status_code,
        "too large": (await http.post(f"{url}/{good}/status?via=p1", content=b"a" * 70_000)).status_code,
        "NUL": (await told.tell("status", CallStatus="\x00ringing\x00")).status_code,
        "surrogate": (await told.tell("gather", Digits="\ufffd")).status_code,
        "no status": (await told.tell("status")).status_code,
        "long": (await told.tell("status", CallStatus="x" * 5000)).status_code,
    }
    assert answers == {
        "no such page": 404,
        "no page id": 422,
        "huge tenant": 422,
        "no provider": 422,
        "not ascii": 400,
        "too large": 413,
        "NUL": 204,
        "surrogate": 200,
        "no status": 204,
        "long": 204,
    }


async def told_other(told: Told) -> httpx.Response:
    mine, told.page_id = told.page_id, uuid4()
    try:
        return await told.tell("status", CallStatus="ringing")
    finally:
        told.page_id = mine
