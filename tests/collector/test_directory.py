"""Credentials: believed for a limited time, so that a revocation bites within a minute."""

from __future__ import annotations

import httpx
import pytest

from collector import agents, keys
from collector.cache import TtlCache
from collector.directory import Directory
from tests.collector.kit import Front, frames
from wire.access import Role
from wire.problem import Unauthorised


class Seconds:
    """A monotonic clock that the test winds."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


async def test_an_agent_revoked_elsewhere_is_refused_within_the_cache_time(front: Front) -> None:
    """Another process revokes: we believe the credential for at most 30 s longer."""
    agent = await front.agent()
    seconds = Seconds()
    ours = Directory(front.pool, front.clock, ttl_s=30, monotonic=seconds)
    bearer = f"Bearer {agent.token()}"
    known = await ours.agent(bearer)
    async with front.pool.connection() as conn:
        await agents.revoke(conn, known.agent_id, front.clock(), by="test", tenant_id=None)
    seconds.at += 29
    assert (await ours.agent(bearer)).revoked_at is None
    seconds.at += 1
    with pytest.raises(Unauthorised, match="revoked"):
        await ours.agent(bearer)


async def test_credentials_in_use_are_renewed_ahead_and_revocations_noticed(front: Front) -> None:
    """A round asks for the agents in use: they stay known without a question of their own, one revoked
    elsewhere does not, and one that has been forgotten is not brought back.

    Broken twin, tried: a round that keeps an agent as it was believes a revoked one."""
    used, gone, idle = [await front.agent(name) for name in ("used", "gone", "idle")]
    seconds = Seconds()
    ours = Directory(front.pool, front.clock, ttl_s=30, monotonic=seconds)
    names = (("used", used), ("gone", gone), ("idle", idle))
    bearers = {name: f"Bearer {agent.token()}" for name, agent in names}
    known = {name: await ours.agent(bearer) for name, bearer in bearers.items()}
    seconds.at += 100
    for name in ("used", "gone"):
        await ours.agent(bearers[name])
    seconds.at += 25
    async with front.pool.connection() as conn:
        await agents.revoke(conn, known["gone"].agent_id, front.clock(), by="test", tenant_id=None)
    await ours.renew()
    seconds.at += 29
    assert ours.known(bearers["used"].encode(), front.clock()) == known["used"]
    assert ours.known(bearers["gone"].encode(), front.clock()) is None
    assert ours.known(bearers["idle"].encode(), front.clock()) is None
    with pytest.raises(Unauthorised, match="revoked"):
        await ours.agent(bearers["gone"])
    ours.forget_agent(known["used"].agent_id)
    await ours.renew()
    assert ours.known(bearers["used"].encode(), front.clock()) is None


async def test_a_token_not_seen_before_is_proven_before_it_is_known(front: Front) -> None:
    """The short way knows an agent, not any token that names it."""
    agent, other = await front.agent("one"), await front.agent("two")
    ours = Directory(front.pool, front.clock, ttl_s=30)
    known = await ours.agent(f"Bearer {agent.token()}")
    fresh = f"Bearer {agent.token(exp=front.clock().timestamp() + 90)}"
    assert ours.known(fresh.encode(), front.clock()) == known
    agent.key = other.key
    forged = f"Bearer {agent.token(exp=front.clock().timestamp() + 80)}"
    assert ours.known(forged.encode(), front.clock()) is None
    with pytest.raises(Unauthorised, match="signature"):
        await ours.agent(forged)


async def test_a_proven_token_is_known_again_after_its_agent_was_looked_up_anew(front: Front) -> None:
    """What is known of an agent is dropped when it changes, as when its program has started: its token goes
    the long way once, not for the rest of its life.

    Broken twin, tried: a token that holds on to what was dropped is never known again."""
    agent = await front.agent()
    ours = Directory(front.pool, front.clock, ttl_s=30)
    bearer = f"Bearer {agent.token(run='first')}"
    await ours.agent(bearer)
    assert ours.known(bearer.encode(), front.clock()) is None
    known = await ours.agent(bearer)
    assert ours.known(bearer.encode(), front.clock()) == known
    ours.forget_agent(known.agent_id)
    assert ours.known(bearer.encode(), front.clock()) is None
    known = await ours.agent(bearer)
    assert ours.known(bearer.encode(), front.clock()) == known


async def test_an_api_key_revoked_elsewhere_is_refused_within_the_cache_time(front: Front) -> None:
    """The same for people's and services' keys."""
    bearer = (await front.key(Role.READER))["Authorization"]
    seconds = Seconds()
    ours = Directory(front.pool, front.clock, ttl_s=60, monotonic=seconds)
    await ours.principal(bearer)
    async with front.pool.connection() as conn:
        for row in await keys.listed(conn, None):
            await keys.revoke(conn, row.api_key_id, front.clock(), tenant_id=None)
    seconds.at += 60
    with pytest.raises(Unauthorised):
        await ours.principal(bearer)


async def test_the_age_counts_from_before_the_question() -> None:
    """A slow answer is as old as its question: what changed while it was on its way is noticed in time."""
    seconds = Seconds()
    cache: TtlCache[str, int] = TtlCache(ttl_s=30, monotonic=seconds)

    async def slow(_: str) -> int:
        seconds.at += 25
        return 1

    async def fresh(_: str) -> int:
        return 2

    assert await cache.get("a", slow) == 1
    seconds.at += 4
    assert await cache.get("a", fresh) == 1
    seconds.at += 1
    assert await cache.get("a", fresh) == 2


async def test_the_cache_is_bounded() -> None:
    """The least recently used entry goes."""
    cache: TtlCache[int, int] = TtlCache(ttl_s=30, size=2)
    asked: list[int] = []

    async def load(key: int) -> int:
        asked.append(key)
        return key

    for key in (1, 2, 1, 3, 1, 2):
        await cache.get(key, load)
    assert asked == [1, 2, 3, 2]


async def test_revoking_over_http_works_at_once_in_this_process(front: Front) -> None:
    """The process that revokes does not wait for its own cache."""
    agent = await front.agent()
    assert (await agent.send((front.clock(), [0.5, 0.5]))).status_code == 200
    admin = await front.key()
    answer = await front.http.post(f"/v1/agents/{agent.agent_id}/revoke", headers=admin)
    assert answer.status_code == 200
    refused = await agent.send((front.clock(), [0.5, 0.5]))
    assert refused.status_code == 401
    assert refused.json()["type"] == "urn:ucx:problem:revoked"
    listed = (await front.http.get("/v1/agents", headers=admin)).json()
    assert listed[0]["revoked_why"].startswith("revoked by admin-")


async def test_a_token_signed_by_another_key_is_refused(front: Front) -> None:
    """Knowing an agent's id is not enough."""
    one, two = await front.agent("one"), await front.agent("two")
    one.key = two.key
    answer = await one.post(one.batch(frames=frames((front.clock(), [0.5, 0.5]))))
    assert answer.status_code == 401


async def test_an_expired_token_is_refused_also_when_it_was_good_before(front: Front) -> None:
    """The remembered signature does not lengthen a token's life."""
    agent = await front.agent()
    headers = {"Authorization": f"Bearer {agent.token()}"}
    body = agent.batch(frames=frames((front.clock(), [0.5, 0.5])))

    async def post() -> httpx.Response:
        return await front.http.post("/v1/batches", content=body, headers=headers)

    assert (await post()).status_code == 409
    front.clock.wind(seconds=121)
    assert (await post()).status_code == 401


async def test_other_headers_are_401_with_a_challenge(front: Front) -> None:
    """Every 401 says which scheme we speak, wherever it happens."""
    for header in ("", "Bearer", "Basic YTpi", "Bearer ucxk_wrong", "Bearer a.b.c"):
        headers = {"Authorization": header} if header else {}
        for method, path in (("GET", "/v1/hosts"), ("POST", "/v1/batches"), ("GET", "/nowhere")):
            answer = await front.http.request(method, path, headers=headers)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert answer.headers["Content-Type"] == "application/problem+json"


async def test_an_agent_reads_nothing_and_a_key_sends_nothing(front: Front) -> None:
    """An agent's token opens its own doors only, an API key opens none of them."""
    agent = await front.agent()
    own = {"Authorization": f"Bearer {agent.token()}"}
    assert (await front.http.get("/v1/hosts", headers=own)).status_code == 403
    assert (await front.http.get("/v1/agents", headers=own)).status_code == 403
    admin = await front.key()
    assert (await front.http.post("/v1/batches", content=b"x", headers=admin)).status_code == 401
    answer = await front.http.put("/v1/agent/facts", json={"facts": {"os": "x"}}, headers=admin)
    assert answer.status_code == 403


async def test_facts_are_merged_into_the_agents_own_host(front: Front) -> None:
    """A report adds and replaces; what it does not name stays."""
    agent = await front.agent()
    own = {"Authorization": f"Bearer {agent.token()}"}
    answer = await front.http.put(
        "/v1/agent/facts", json={"facts": {"platform_version": "2025.Winter.1"}}, headers=own
    )
    assert answer.json() == {"facts": {"os": "linux", "platform_version": "2025.Winter.1"}}


async def test_an_agents_newest_token_alone_is_remembered(front: Front) -> None:
    """An agent signs one every half minute: a day's would fill the memory. An earlier one is proven again.

    Broken twin, tried: without letting go of the one before, five tokens are held."""
    agent = await front.agent("one")
    ours = Directory(front.pool, front.clock, ttl_s=30)
    at = front.clock().timestamp()
    bearers = [f"Bearer {agent.token(exp=at + 60 + n)}" for n in range(5)]
    known = [await ours.agent(bearer) for bearer in (*bearers, bearers[0])]
    assert len(set(map(id, known))) == 1
    assert list(ours._proven) == [bearers[0].encode()]
