"""Enrolment: one token, one agent, whatever is lost on the way or races."""

from __future__ import annotations

import asyncio

import httpx

from tests.collector.kit import Agent, Front, running
from wire.access import Role


async def test_a_token_makes_exactly_one_agent_however_many_race(front: Front) -> None:
    """Twenty agents with keys of their own use one token at once: one is enrolled, the others are told."""
    await front.customer()
    token = await front.enrolment_token()
    candidates = [Agent(front.http, front.clock) for _ in range(20)]
    answers = await asyncio.gather(*(agent.enrol(token, f"host-{n}") for n, agent in enumerate(candidates)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 19
    assert await front.count("agent") == 1
    assert await front.count("host") == 1


async def test_a_lost_reply_is_given_again(front: Front) -> None:
    """The same token, key and name get the same agent; five at once, too. Another key does not."""
    await front.customer()
    token = await front.enrolment_token()
    agent = Agent(front.http, front.clock)
    answers = await asyncio.gather(*(agent.enrol(token) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert await front.count("agent") == 1
    thief = await Agent(front.http, front.clock).enrol(token)
    assert thief.status_code == 409
    assert thief.json()["type"] == "urn:ucx:problem:token-used"


async def test_a_reply_is_not_given_again_once_the_agent_was_revoked(front: Front) -> None:
    """A token never revives a revoked credential."""
    await front.customer()
    token = await front.enrolment_token()
    agent = Agent(front.http, front.clock)
    await agent.enrol(token)
    await front.http.post(f"/v1/agents/{agent.agent_id}/revoke", headers=await front.key())
    assert (await agent.enrol(token)).status_code == 409


async def test_an_expired_or_unknown_token_enrols_nobody(front: Front) -> None:
    """401 with the reason; also for the retry of a token that was used in time."""
    await front.customer()
    token = await front.enrolment_token(ttl_h=1)
    used = await front.enrolment_token(ttl_h=1)
    agent = Agent(front.http, front.clock)
    await agent.enrol(used)
    front.clock.wind(hours=1)
    for late in (token, used):
        answer = await agent.enrol(late)
        assert answer.status_code == 401
        assert answer.json()["type"] == "urn:ucx:problem:token-expired"
    unknown = await agent.enrol("ucxe_" + "a" * 43)
    assert unknown.json()["type"] == "urn:ucx:problem:token-unknown"


async def test_a_host_set_up_anew_keeps_its_history_and_has_one_voice(front: Front) -> None:
    """The same name in one deployment is the same host; the former agent is revoked with the commit."""
    first = await front.agent("server-1")
    assert (await first.send((front.clock(), [0.5, 0.5]))).status_code == 200
    second = await front.agent("server-1")
    assert second.agent_id != first.agent_id
    assert await front.count("host") == 1
    assert (await first.send((front.clock(), [0.5, 0.5]))).status_code == 401
    assert (await second.send((front.clock(), [0.5, 0.5]))).status_code == 200
    listed = (await front.http.get("/v1/agents", headers=await front.key())).json()
    former = next(row for row in listed if row["agent_id"].replace("-", "") == first.agent_id)
    assert former["revoked_why"] == f"re-enrolled as {second.agent_id}"


async def test_two_hosts_of_one_name_enrolling_at_once_leave_one_voice(front: Front) -> None:
    """A race of two tokens for one name: both succeed, one is superseded, none is left beside the other."""
    await front.customer()
    tokens = [await front.enrolment_token() for _ in range(6)]
    answers = await asyncio.gather(*(Agent(front.http, front.clock).enrol(token, "same") for token in tokens))
    assert {answer.status_code for answer in answers} == {201}
    assert await front.count("host") == 1
    assert await front.count("agent WHERE revoked_at IS NULL") == 1


async def test_the_same_name_elsewhere_is_another_host(front: Front) -> None:
    """Deployments and tenants do not share names."""
    for tenant, deployment in (("acme", "main"), ("acme", "branch"), ("other", "main")):
        await front.agent("server-1", tenant, deployment)
    assert await front.count("host") == 3
    assert await front.count("agent WHERE revoked_at IS NULL") == 3


async def test_a_tenants_admin_makes_tokens_for_that_tenant_only(front: Front) -> None:
    """The other tenant's deployment does not exist for this key."""
    await front.customer("acme")
    await front.customer("other")
    admin = await front.key(Role.ADMIN, "acme")

    async def make(tenant: str) -> httpx.Response:
        body = {"tenant": tenant, "deployment": "main"}
        return await front.http.post("/v1/enrolment-tokens", json=body, headers=admin)

    assert (await make("acme")).status_code == 201
    assert (await make("other")).status_code == 404
    listed = (await front.http.get("/v1/enrolment-tokens", headers=admin)).json()
    assert [row["tenant"] for row in listed] == ["acme"]


async def test_one_address_cannot_enrol_without_end(database_url: str) -> None:
    """Past the burst: 429 with the time to wait."""
    async with running(database_url, enrol_burst=3, enrol_per_s=0.1) as front:
        agent = Agent(front.http, front.clock)
        codes = [(await agent.enrol("ucxe_" + "a" * 43)) for _ in range(4)]
    assert [answer.status_code for answer in codes] == [401, 401, 401, 429]
    assert 1 <= int(codes[3].headers["Retry-After"]) <= 10


FAULTY: list[tuple[str, object]] = [
    ("token", "ucxe_short"),
    ("host_name", ""),
    ("host_name", "a\u0000b"),
    ("host_name", "x" * 300),
    ("public_key", "A" * 42),
    ("public_key", "!" * 43),
    ("facts", {"os": "a\u0000"}),
    ("facts", {str(n): "x" for n in range(40)}),
    ("facts", {"os": 10**30}),
    ("surprise", 1),
]


async def test_half_a_token_is_answered_in_words(front: Front) -> None:
    """The person who copied it reads what to do; seen failing without the check: a regular expression."""
    agent = Agent(front.http, front.clock)
    answer = await agent.enrol("ucxe_short")
    assert answer.json()["errors"] == [
        {"field": "token", "message": "is no enrolment token: copy the whole of it, ucxe_ and 43 characters"}
    ]


async def test_a_faulty_field_is_named(front: Front) -> None:
    """422 with the field, whichever it is."""
    good = {
        "token": "ucxe_" + "a" * 43,
        "host_name": "h",
        "public_key": Agent(front.http, front.clock).public_key,
        "facts": {},
    }
    for field, value in FAULTY:
        answer = await front.http.post("/v1/enrol", json=good | {field: value})
        assert answer.status_code == 422, (field, value)
        assert answer.json()["errors"][0]["field"].startswith(field)
