"""The simulator refuses what the documented API refuses, in its error shape, and answers as documented."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from storage.pool import Pool
from tests.oncall.lab import OWN, SID, TOKEN, Lab, lab
from tests.oncall.world import ANNA, BEN

CALLS = f"http://company/2010-04-01/Accounts/{SID}/Calls"
GOOD: dict[str, Any] = {"To": ANNA, "From": OWN, "Url": "http://ours/twiml"}


@pytest_asyncio.fixture
async def here(pool: Pool) -> AsyncIterator[Lab]:
    """A company whose phones nobody answers."""
    async with lab(pool) as running:
        yield running


async def post(here: Lab, form: dict[str, Any], url: str = f"{CALLS}.json") -> httpx.Response:
    return await here.http.post(url, data=form, auth=(SID, TOKEN))


REFUSED: list[tuple[dict[str, Any], int]] = [
    ({"To": None}, 21201),
    ({"From": None}, 21213),
    ({"To": "0584000001"}, 21211),
    ({"To": "+390584 00001"}, 21211),
    ({"To": OWN}, 21211),
    ({"From": "me"}, 21212),
    ({"From": BEN}, 21210),
    ({"Url": None}, 21205),
    ({"Url": "/relative"}, 21205),
    ({"Url": "ftp://x/y"}, 21205),
    ({"Method": "PUT"}, 21209),
    ({"StatusCallbackMethod": "DELETE"}, 21209),
    ({"StatusCallback": "nowhere"}, 21609),
    ({"StatusCallbackEvent": "dreaming"}, 21626),
    ({"Timeout": "0"}, 21208),
    ({"Timeout": "601"}, 21208),
    ({"Timeout": "ten"}, 21208),
    ({"MachineDetection": "Maybe"}, 21207),
    ({"Surprise": "1"}, 20001),
    ({"Timeout": ["1", "2"]}, 20001),
]


@pytest.mark.parametrize(("change", "code"), REFUSED)
async def test_a_wrong_order_is_refused_in_the_error_shape(
    here: Lab, change: dict[str, Any], code: int
) -> None:
    """400 with code, message, more_info and status; nothing is placed."""
    form = {name: value for name, value in (GOOD | change).items() if value is not None}
    answer = await post(here, form)
    body = answer.json()
    assert (answer.status_code, body["status"], body["code"]) == (400, 400, code)
    assert body["more_info"] == f"https://www.twilio.com/docs/errors/{code}"
    assert body["message"]
    assert not here.exchange.calls


async def test_only_the_account_gets_in(here: Lab) -> None:
    """No, wrong and another account's credentials: 401, error 20003."""
    other = "AC" + "9" * 32
    answers = [
        await here.http.post(f"{CALLS}.json", data=GOOD),
        await here.http.post(f"{CALLS}.json", data=GOOD, auth=(SID, "wrong")),
        await here.http.post(f"{CALLS}.json".replace(SID, other), data=GOOD, auth=(SID, TOKEN)),
        await here.http.get(f"{CALLS}.json", headers={"Authorization": "Basic !"}),
    ]
    assert [(a.status_code, a.json()["code"]) for a in answers] == [(401, 20003)] * 4


async def test_a_call_is_created_fetched_listed_and_ended(here: Lab) -> None:
    """201 with the resource, queued; listed by number; a second end is refused as documented."""
    created = await post(here, GOOD | {"Timeout": "600"})
    assert created.status_code == 201
    call = created.json()
    assert (call["status"], call["to"], call["direction"]) == ("queued", ANNA, "outbound-api")
    assert "url" not in call  # the documented resource does not show where its instructions come from
    one = f"{CALLS}/{call['sid']}.json"
    assert (await here.http.get(one, auth=(SID, TOKEN))).json()["sid"] == call["sid"]
    for number, found in ((ANNA, [call["sid"]]), (BEN, [])):
        listed = await here.http.get(f"{CALLS}.json", params={"To": number}, auth=(SID, TOKEN))
        assert [c["sid"] for c in listed.json()["calls"]] == found
    assert (await post(here, {"Status": "in-progress"}, one)).json()["code"] == 21218
    assert (await post(here, {"Status": "canceled"}, one)).status_code == 200
    while not here.exchange.calls[call["sid"]].over:
        assert (await post(here, {"Status": "completed"}, one)).status_code in (200, 400)
    ended = await post(here, {"Status": "completed"}, one)
    assert (ended.status_code, ended.json()["code"]) == (400, 21220)


async def test_what_does_not_exist_is_404(here: Lab) -> None:
    """An unknown call: error 20404."""
    answer = await here.http.get(f"{CALLS}/CA{'0' * 32}.json", auth=(SID, TOKEN))
    assert (answer.status_code, answer.json()["code"]) == (404, 20404)


async def test_only_forms_are_read(here: Lab) -> None:
    """JSON is refused, as are bodies that are no form."""
    answer = await here.http.post(f"{CALLS}.json", json=GOOD, auth=(SID, TOKEN))
    assert answer.status_code == 415


async def test_a_list_by_start_time_shows_no_call_that_was_not_dialled(here: Lab) -> None:
    """A call in the queue has no start time; a day in the future has no calls."""
    here.script(faults=[{"kind": "never-rings"}])
    await post(here, GOOD)
    for after in ("2020-01-01", "2999-01-01"):
        listed = await here.http.get(f"{CALLS}.json", params={"StartTime>": after}, auth=(SID, TOKEN))
        assert listed.json()["calls"] == []
    faulty = await here.http.get(f"{CALLS}.json", params={"StartTime>": "soon"}, auth=(SID, TOKEN))
    assert faulty.status_code == 400


async def test_the_page_and_the_control_api(here: Lab) -> None:
    """The page shows the phone; faulty control requests are refused with the reason."""
    here.script(phones=[{"number": ANNA, "name": "Anna <b>"}])
    page = (await here.http.get("http://company/")).text
    assert "Anna \\u003cb\\u003e" in page
    call = (await post(here, GOOD | {"Timeout": "600"})).json()
    at = f"http://company/calls/{call['sid']}"
    assert (await here.http.post(f"{at}/press", json={"digits": "x"})).status_code == 400
    assert (await here.http.post(f"{at}/dance")).status_code == 404
    assert (await here.http.post("http://company/script", json={"phone": []})).status_code == 400
    wrong = {"phones": [{"number": "12"}]}
    assert (await here.http.post("http://company/script", json=wrong)).status_code == 400
    state = (await here.http.get("http://company/state")).json()
    assert [phone["number"] for phone in state["phones"]] == [ANNA]
