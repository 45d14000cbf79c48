"""The stream of alerts and what people say about one: bound to the caller, nothing lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.links import Links
from alerting.settings import Settings
from alerting.stream import Follower, read_position, write_position
from storage.pool import Pool
from tests.alerting.kit import START, evaluator_in, event, ingest, seed
from tests.alerting.test_api import Api, two_tenants
from tests.collector.kit import running
from wire.access import Principal, Role

QUICK = Settings(stream_look_s=0.02, stream_life_s=30, stream_beat_s=0.05)
STAFF = Principal("staff", Role.READER)
ACME = Principal("acme", Role.READER, tenant_id=1)


class Listener:
    """One stream, read event by event."""

    def __init__(self, pool: Pool, who: Principal = STAFF, position: str | None = None) -> None:
        self._chunks: AsyncIterator[bytes] = Follower(pool, QUICK, who, Links()).told(read_position(position))

    async def next(self) -> bytes:
        async with asyncio.timeout(20):
            return await anext(self._chunks)

    async def events(self) -> list[dict[str, Any]]:
        """The events of the next look that has any."""
        while not (chunk := await self.next()).startswith(b"id:"):
            continue
        return [read(text) for text in chunk.decode().split("\n\n") if text]

    async def quiet(self) -> None:
        """Two beats without an event."""
        for _ in range(2):
            while (chunk := await self.next()).startswith(b"retry"):
                continue
            assert chunk == b": beat\n\n"


def read(text: str) -> dict[str, Any]:
    fields = dict(line.split(": ", 1) for line in text.split("\n"))
    return fields | {"data": json.loads(fields["data"])}


async def test_changes_are_told_as_they_come(pool: Pool) -> None:
    """Not what was before; then each alert as the list shows it, once, with beats while nothing happens."""
    (scope,) = await seed(pool)
    evaluator = await evaluator_in(pool)
    await ingest(pool, evaluator, scope, [event(START, "MSSQLSERVER", "1105", "no space")], START)
    listener = Listener(pool)
    await listener.quiet()
    await ingest(pool, evaluator, scope, [event(START, "MSSQLSERVER", "823", "torn page")], START)
    (told,) = await listener.events()
    assert (told["event"], told["data"]["tenant"], told["data"]["state"]) == ("alert", "acme", "firing")
    await listener.quiet()


async def test_a_customer_hears_of_its_own_alerts_only(pool: Pool) -> None:
    """Another tenant's, or another deployment's, are not told."""
    mine, elsewhere = Listener(pool, ACME), Listener(pool, Principal("x", Role.READER, 1, 99))
    await mine.quiet()
    await elsewhere.quiet()
    await two_tenants(pool)
    assert [told["data"]["tenant"] for told in await mine.events()] == ["acme"]
    await mine.quiet()
    await elsewhere.quiet()


async def test_a_stream_taken_up_again_misses_nothing(pool: Pool) -> None:
    """From the last id on, all that changed meanwhile is told; also what became visible late.

    Broken twin: without the look back the second alert, whose transaction began first, is never told."""
    (scope,) = await seed(pool)
    evaluator = await evaluator_in(pool)
    listener = Listener(pool)
    await listener.quiet()
    await ingest(pool, evaluator, scope, [event(START, "MSSQLSERVER", "1105", "no space")], START)
    (told,) = await listener.events()
    await ingest(pool, evaluator, scope, [event(START, "MSSQLSERVER", "823", "torn page")], START)
    async with pool.connection() as conn:
        await conn.execute(
            "UPDATE alert SET changed_at = changed_at - interval '30 s' WHERE alert_id <> %s",
            (told["data"]["alert_id"],),
        )
    again = await Listener(pool, position=told["id"]).events()
    assert {e["data"]["last_seq"] for e in again} == {1}
    assert len({e["data"]["alert_id"] for e in again}) == 2
    assert (await listener.events())[0]["data"]["alert_id"] != told["data"]["alert_id"]


async def test_a_position_too_old_is_told_so(pool: Pool) -> None:
    """An event says to list anew; so for a position in the future; what is none counts as none."""
    async with pool.connection() as conn:
        row = await (await conn.execute("SELECT now()")).fetchone()
    assert row is not None
    for days in (-2, 2):
        (told,) = await Listener(pool, position=write_position(row[0] + timedelta(days=days))).events()
        assert told["event"] == "reset"
    await Listener(pool, position="nonsense").quiet()


async def test_a_storm_is_told_page_by_page(pool: Pool) -> None:
    """More alerts than one page holds: each once, in order of their change."""
    await seed(pool)
    listener = Listener(pool)
    await listener.quiet()
    async with pool.connection() as conn:
        await conn.execute(
            "INSERT INTO alert (tenant_id, deployment_id, rule_id, instance, problem_key, state, priority,"
            " since, summary, last_seq, changed_at)"
            " SELECT 1, 1, 'r', n::text, n::text, 'firing', 3, now(), 's', 1, now()"
            " FROM generate_series(1, 1200) AS n"
        )
    ids: list[int] = []
    while len(ids) < 1200:
        ids += [told["data"]["alert_id"] for told in await listener.events()]
    assert ids == sorted(set(ids))
    await listener.quiet()


@given(st.text(max_size=30))
def test_whatever_a_client_sends_is_a_position_or_none(text: str) -> None:
    """Never an error; what we gave comes back as it was."""
    at = read_position(text)
    assert at is None or read_position(write_position(at)) == at


async def test_the_stream_is_spoken_over_http(database_url: str) -> None:
    """Through the whole application: the type, a first line, no key no stream."""
    async with running(database_url) as front:
        assert (await front.http.get("/v1/alerts/stream")).status_code == 401
        key = await front.key(Role.READER)
        async with front.http.stream("GET", "/v1/alerts/stream", headers=key) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert await anext(answer.aiter_lines()) == "retry: 1000"


async def test_one_customer_does_not_take_every_others_place(database_url: str) -> None:
    """It is refused past its share; another customer, and the vendor's own, still get their streams.

    The twin: counted together, one customer's reader held all places and everybody else was answered 429."""
    async with running(database_url) as front, contextlib.AsyncExitStack() as held:
        for tenant in ("greedy", "other"):
            await front.customer(tenant)
        greedy, lines = await front.key(Role.READER, "greedy"), list[AsyncIterator[str]]()

        async def opened(key: dict[str, str]) -> int:
            answer = await held.enter_async_context(
                front.http.stream("GET", "/v1/alerts/stream", headers=key)
            )
            if answer.status_code == 200:
                lines.append(answer.aiter_lines())  # let go of, it would close its stream
                assert await anext(lines[-1]) == "retry: 1000"
            return answer.status_code

        share = Settings().streams // 4
        assert [await opened(greedy) for _ in range(share + 1)] == [200] * share + [429]
        assert await opened(await front.key(Role.READER, "other")) == 200
        assert await opened(await front.key(Role.READER)) == 200


@pytest.fixture
def api(pool: Pool) -> Api:
    return Api(pool)


async def test_what_people_say_is_kept(pool: Pool, api: Api) -> None:
    """Acknowledgement and comments with author and time, in order; readers read, others do not exist."""
    await two_tenants(pool)
    path = "/v1/alerts/1"
    api.who = Principal("ada", Role.SUPPORT)
    seen: httpx.Response = await api.client.post(f"{path}/acknowledge", json={"note": "looking"})
    assert (seen.status_code, seen.json()["kind"], seen.json()["author"]) == (201, "acknowledged", "ada")
    assert (await api.client.post(f"{path}/comments", json={"text": "a new disk"})).status_code == 201
    found = (await api.get(f"{path}/comments", ACME)).json()
    assert [note["text"] for note in found] == ["looking", "a new disk"]
    assert (await api.get(f"{path}/comments", after=found[0]["note"])).json() == found[1:]
    stranger = Principal("other", Role.SUPPORT, tenant_id=2)
    assert (await api.get(f"{path}/comments", stranger)).status_code == 404
    assert (await api.client.post(f"{path}/comments", json={"text": "x"})).status_code == 404
    api.who = ACME
    assert (await api.client.post(f"{path}/comments", json={"text": "x"})).status_code == 403
    api.who = Principal("ada", Role.SUPPORT)
    for bad in ({"text": ""}, {"text": "a\x00"}, {"text": "x" * 2001}, {}):
        assert (await api.client.post(f"{path}/comments", json=bad)).status_code == 422
