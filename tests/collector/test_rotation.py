"""Keys are replaced with an overlap, by who holds the key in force and nobody else."""

from __future__ import annotations

import asyncio
import base64

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from collector.directory import Directory
from collector.rotation import Held, Replaced, Replacement, Verdict, judge
from tests.collector.kit import Agent, Front, event
from wire.rotation import statement

AUTHOR = Ed25519PrivateKey.generate()


def raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def change(agent: Agent, new: Ed25519PrivateKey, **wrong: str) -> dict[str, str]:
    """What an agent sends, parts of it replaced."""
    said = statement(agent.agent_id, raw(agent.key), raw(new))
    body = {
        "old_key": text(raw(agent.key)),
        "new_key": text(raw(new)),
        "signed_by_old": text(agent.key.sign(said)),
        "signed_by_new": text(new.sign(said)),
    }
    return body | wrong


async def ask(agent: Agent, body: dict[str, str]) -> httpx.Response:
    headers = {"Authorization": f"Bearer {agent.token()}"}
    return await agent.http.post("/v1/agent/key", json=body, headers=headers)


async def works(agent: Agent, key: Ed25519PrivateKey) -> bool:
    """A batch signed with ``key`` is taken."""
    own, agent.key = agent.key, key
    try:
        return (await agent.post(agent.batch(events=[event(agent.clock())]))).status_code == 200
    finally:
        agent.key = own


async def test_old_and_new_key_are_accepted_until_the_old_one_retires(front: Front) -> None:
    """A week by default; then only the new one is, and the agent is told why."""
    agent = await front.agent()
    old, new = agent.key, Ed25519PrivateKey.generate()
    answer = await ask(agent, change(agent, new))
    assert answer.status_code == 200, answer.text
    assert (await works(agent, old), await works(agent, new)) == (True, True)
    front.clock.wind(days=7, seconds=1)
    assert (await works(agent, old), await works(agent, new)) == (False, True)
    refused = await agent.post(agent.batch(events=[event(front.clock())]))
    assert refused.json()["type"].endswith(":key-retired")
    listed = (await front.http.get("/v1/agents", headers=await front.key())).json()
    assert listed[0]["key_since"] == answer.json()["key_since"]


async def test_an_answer_that_was_lost_is_given_again(front: Front) -> None:
    """Asked by the old key again, ten times at once: the same answer, one change."""
    agent = await front.agent()
    body = change(agent, AUTHOR)
    answers = await asyncio.gather(*(ask(agent, body) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    front.clock.wind(hours=1)
    assert (await ask(agent, body)).json() == answers[0].json()
    assert await front.count("agent_key") == 1


async def test_a_copy_that_holds_a_replaced_key_cannot_replace_it_again(front: Front) -> None:
    """The clone of a host, or who stole its old key: 409, and the host's own key stays."""
    agent = await front.agent()
    new, third = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    await ask(agent, change(agent, new))
    refused = await ask(agent, change(agent, third))
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:ucx:problem:key-replaced")
    assert (await works(agent, new), await works(agent, third)) == (True, False)


async def test_revocation_ends_both_keys(front: Front) -> None:
    """Neither speaks any more, and none can be replaced."""
    agent = await front.agent()
    new = Ed25519PrivateKey.generate()
    await ask(agent, change(agent, new))
    await front.http.post(f"/v1/agents/{agent.agent_id}/revoke", headers=await front.key())
    assert (await works(agent, agent.key), await works(agent, new)) == (False, False)
    agent.key = new
    assert (await ask(agent, change(agent, Ed25519PrivateKey.generate()))).status_code == 401


@pytest.mark.parametrize("field", ["signed_by_old", "signed_by_new", "new_key", "old_key"])
async def test_both_keys_must_have_signed_exactly_this(front: Front, field: str) -> None:
    """What somebody on the way put in is refused, by name; the key stays.

    Broken twin: signatures of the new key alone let a proxy that reads TLS put in its own."""
    agent = await front.agent()
    new, foreign = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
    wrong = text(raw(foreign)) if field.endswith("key") else text(foreign.sign(b"something else"))
    answer = await ask(agent, change(agent, new, **{field: wrong}))
    assert (answer.status_code, (await works(agent, new))) == (422, False)
    assert all(error["field"].startswith("signed_by") for error in answer.json()["errors"])
    assert await works(agent, agent.key)


async def test_a_statement_of_one_agent_says_nothing_of_another(front: Front) -> None:
    """Its id is signed, too."""
    one, two = await front.agent("host-1"), await front.agent("host-2")
    body = change(one, Ed25519PrivateKey.generate())
    assert (await ask(two, body)).status_code == 422
    assert (await ask(one, body)).status_code == 200


async def test_another_collector_accepts_the_new_key_at_once(front: Front) -> None:
    """It has the agent in its cache with the old key: it looks again before it turns the agent away."""
    agent = await front.agent()
    seconds = [1000.0]
    other = Directory(front.pool, front.clock, ttl_s=30, monotonic=lambda: seconds[0])
    await other.agent(f"Bearer {agent.token()}")
    new = Ed25519PrivateKey.generate()
    await ask(agent, change(agent, new))
    seconds[0] += 2
    agent.key = new
    known = await other.agent(f"Bearer {agent.token()}")
    assert known.public_key == raw(new)


def test_every_case_has_its_verdict() -> None:
    """Who asks what with which key."""
    since = Replaced(*(2 * [None]))  # type: ignore[arg-type]
    held = Held(1, b"k2", False, {b"k1": since})
    asked = {
        Verdict.REPLACE: Replacement(b"k2", b"k3", b"", b""),
        Verdict.DONE: Replacement(b"k1", b"k2", b"", b""),
        Verdict.STALE: Replacement(b"k1", b"k3", b"", b""),
        Verdict.USED: Replacement(b"k2", b"k1", b"", b""),
    }
    assert {verdict: judge(held, one) for verdict, one in asked.items()} == {v: v for v in asked}
    assert judge(held, Replacement(b"k2", b"k2", b"", b"")) is Verdict.USED
    assert judge(Held(1, b"k2", True, {}), asked[Verdict.REPLACE]) is Verdict.REVOKED


# ---- a host that is enrolled again ---------------------------------------------------------------------


async def test_what_an_earlier_agent_of_the_host_had_not_delivered_may_come_from_the_new_one(
    front: Front,
) -> None:
    """Under its old name: what had come already is known by the ledger, and nothing is stored twice. Another
    host's agent may not.

    Broken twin: renumbered under the new identity, the batch whose answer was lost is stored twice."""
    old = await front.agent()
    delivered, waiting = (old.batch(events=[event(front.clock(), word)]) for word in ("one", "two"))
    await old.post(delivered)
    token = await front.enrolment_token()
    new = Agent(front.http, front.clock)
    answer = await new.enrol(token)
    assert answer.json()["predecessors"] == [old.agent_id]
    for body in (delivered, waiting, waiting):
        receipt = (await new.post(body)).json()
        assert (receipt["agent"], receipt["outcome"]) == (old.agent_id, "stored")
    assert await front.count("event") == 2
    stranger = await front.agent("host-2")
    refused = await stranger.post(waiting)
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:ucx:problem:other-agent")
    assert (await new.enrol(token)).json()["predecessors"] == [old.agent_id], "a repeated answer says it, too"
