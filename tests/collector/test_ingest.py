"""The way of a batch over real HTTP: what is acknowledged is stored, once."""

from __future__ import annotations

import asyncio
import gzip
from datetime import timedelta
from typing import Any, LiteralString

import pytest
import zstandard

from tests.collector.kit import CPU, Front, event, frames, ms
from wire import batch as wire_batch
from wire import layout as wire_layout


async def test_a_batch_is_stored_and_its_receipt_names_it(front: Front) -> None:
    """The receipt echoes agent, epoch, seq and digest; the frame is in the database with its values."""
    agent = await front.agent()
    assert (await agent.put_layout()).status_code == 204
    body = agent.batch(frames=frames((front.clock(), [0.5, None])))
    answer = await agent.post(body)
    assert answer.status_code == 200
    assert answer.json() == {
        "agent": agent.agent_id,
        "epoch": agent.epoch,
        "seq": 1,
        "digest": wire_batch.digest(body),
        "outcome": "stored",
        "reason": "",
    }
    assert "date" in answer.headers
    async with front.pool.connection() as conn:
        rows = await (await conn.execute("SELECT time, values FROM frame")).fetchall()
    assert rows == [(front.clock(), [0.5, None])]


async def test_an_unknown_layout_is_asked_for_by_name(front: Front) -> None:
    """409 with the missing digests; nothing is stored until the layout is there."""
    agent = await front.agent()
    body = agent.batch(frames=frames((front.clock(), [0.5, 0.5])))
    answer = await agent.post(body)
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:ucx:problem:unknown-layouts"
    assert answer.json()["layouts"] == [wire_layout.digest(wire_layout.encode(CPU)).hex()]
    assert await front.count("frame") == 0
    assert (await agent.put_layout()).status_code == 204
    assert (await agent.post(body)).json()["outcome"] == "stored"


async def test_the_same_batch_twenty_times_at_once_is_stored_once(front: Front) -> None:
    """Twenty copies in parallel all get the same receipt, and there is one frame."""
    agent = await front.agent()
    await agent.put_layout()
    body = agent.batch(frames=frames((front.clock(), [0.5, 0.5])))
    answers = await asyncio.gather(*(agent.post(body) for _ in range(20)))
    assert {answer.text for answer in answers} == {answers[0].text}
    assert answers[0].json()["outcome"] == "stored"
    assert await front.count("frame") == 1
    assert await front.count("batch_ledger") == 1


async def test_other_bytes_under_a_used_key_are_told_to_renumber(front: Front) -> None:
    """A reverted machine's batch does not displace, and is not mistaken for, what is stored."""
    agent = await front.agent()
    await agent.send((front.clock(), [0.1, 0.1]))
    agent.seq -= 1
    answer = await agent.send((front.clock(), [0.2, 0.2]))
    assert answer.status_code == 200
    assert answer.json()["outcome"] == "renumber"
    assert await front.count("frame") == 1


async def test_a_frame_time_may_occur_twice(front: Front) -> None:
    """A clock that steps back makes two true frames of one time; both were acknowledged, both are stored."""
    agent = await front.agent()
    assert (await agent.send((front.clock(), [0.1, 0.1]))).json()["outcome"] == "stored"
    assert (await agent.send((front.clock(), [0.2, 0.2]))).json()["outcome"] == "stored"
    assert await front.count("frame") == 2


async def test_events_are_stored_with_their_attributes(front: Front) -> None:
    """An event batch needs no layout."""
    agent = await front.agent()
    answer = await agent.post(agent.batch(events=[event(front.clock(), "disk é", volume="C:")]))
    assert answer.json()["outcome"] == "stored"
    async with front.pool.connection() as conn:
        rows = await (await conn.execute("SELECT time, message, attributes FROM event")).fetchall()
    assert rows == [(front.clock(), "disk é", {"volume": "C:"})]


async def test_compressed_batches_are_the_same_batches(front: Front) -> None:
    """The digest is of the decompressed bytes: gzip and zstd of a stored batch get its receipt."""
    agent = await front.agent()
    await agent.put_layout()
    body = agent.batch(frames=frames((front.clock(), [0.5, 0.5])))
    plain = await agent.post(body)
    zipped = await agent.post(gzip.compress(body), {"Content-Encoding": "gzip"})
    packed = await agent.post(zstandard.compress(body), {"Content-Encoding": "zstd"})
    assert plain.text == zipped.text == packed.text
    assert await front.count("frame") == 1


async def test_what_is_outside_the_window_is_refused_for_good(front: Front) -> None:
    """Older than the ledger's horizon, or from the future: a receipt with the reason."""
    agent = await front.agent()
    old = await agent.send((front.clock() - timedelta(days=15), [0.5, 0.5]))
    assert old.json()["outcome"] == "refused"
    assert "14 days" in old.json()["reason"]
    ahead = await agent.send((front.clock() + timedelta(seconds=700), [0.5, 0.5]))
    assert ahead.json()["outcome"] == "refused"
    assert "600 s ahead" in ahead.json()["reason"]
    assert await front.count("frame") == 0


async def test_a_frame_at_each_end_of_the_window_is_stored(front: Front) -> None:
    """There are partitions for every time that validation lets in."""
    agent = await front.agent()
    for at in (front.clock() - timedelta(days=14), front.clock() + timedelta(seconds=600)):
        assert (await agent.send((at, [0.5, 0.5]))).json()["outcome"] == "stored"


async def test_a_wrong_width_is_refused_with_the_frame(front: Front) -> None:
    """One value too many for the layout: refused for good, naming the frame."""
    agent = await front.agent()
    answer = await agent.send((front.clock(), [0.5, 0.5, 0.5]))
    assert answer.json()["outcome"] == "refused"
    assert "frames[0].values" in answer.json()["reason"]


async def test_another_agents_batch_is_not_refused_but_forbidden(front: Front) -> None:
    """403 without a receipt: the data is kept until the credential is put right."""
    one, two = await front.agent("one"), await front.agent("two")
    body = one.batch(frames=frames((front.clock(), [0.5, 0.5])))
    answer = await two.post(body)
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:ucx:problem:other-agent"


async def test_an_unknown_version_is_kept_by_the_agent(front: Front) -> None:
    """A newer agent's batch gets no receipt: a newer collector will read it."""
    agent = await front.agent()
    body = agent.batch(frames=frames((front.clock(), [0.5, 0.5])))
    answer = await agent.post(body[:1] + b"\x02" + body[2:])
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:ucx:problem:unknown-version"


async def test_host_state_moves_with_every_commit(front: Front) -> None:
    """Healthy or not: version, frontier and last_seen are written on every commit."""
    agent = await front.agent()
    for n in range(3):
        await agent.send((front.clock(), [0.1, 0.1]))
        async with front.pool.connection() as conn:
            row = await (await conn.execute("SELECT version, frontier, last_seen FROM host_state")).fetchone()
        assert row == (n + 1, front.clock(), front.clock())
        front.clock.wind(seconds=10)


@pytest.mark.parametrize("off_s", [-300, -86_400, 86_400, -400 * 86_400])
async def test_times_of_a_wrong_host_clock_are_put_right_by_the_time_of_sending(
    front: Front, off_s: int
) -> None:
    """Minutes or a day behind or ahead, or more than a year: nothing is refused, and what was measured just
    now is stored and evaluated as of now.

    Broken twin: a window that looks at the stamps alone refuses the last three for good; data of hosts that
    had not learnt the time yet was lost so."""
    agent = await front.agent()
    await agent.put_layout()
    theirs = front.clock() + timedelta(seconds=off_s)
    sent = {"UCX-Sent-At": str(ms(theirs))}
    body = agent.batch(frames=frames((theirs - timedelta(minutes=1), [0.4, 0.4]), (theirs, [0.5, 0.5])))
    assert (await agent.post(body, sent)).json()["outcome"] == "stored"
    told = agent.batch(events=[event(theirs)])
    assert (await agent.post(told, sent)).json()["outcome"] == "stored"
    minute_ago = front.clock() - timedelta(minutes=1)
    assert await rows(front, "SELECT time FROM frame ORDER BY time") == [(minute_ago,), (front.clock(),)]
    assert await rows(front, "SELECT time FROM event") == [(front.clock(),)]
    assert await rows(front, "SELECT frontier FROM host_state") == [(front.clock(),)]


async def test_a_clock_that_is_a_little_off_changes_no_stored_time(front: Front) -> None:
    """Ten seconds: evaluated at our time, stored as sent - the way here would make the times tremble."""
    agent = await front.agent()
    await agent.put_layout()
    theirs = front.clock() - timedelta(seconds=10)
    body = agent.batch(frames=frames((theirs, [0.5, 0.5])))
    answer = await agent.post(body, {"UCX-Sent-At": str(ms(theirs))})
    assert answer.json()["outcome"] == "stored"
    assert await rows(front, "SELECT f.time, s.frontier FROM frame f, host_state s") == [
        (theirs, front.clock())
    ]


async def test_a_time_that_cannot_be_is_refused_with_the_time_it_would_have_been(front: Front) -> None:
    """Ahead of its own time of sending: no clock explains that."""
    agent = await front.agent()
    await agent.put_layout()
    theirs = front.clock() - timedelta(days=1)
    body = agent.batch(frames=frames((theirs + timedelta(hours=2), [0.5, 0.5])))
    receipt = (await agent.post(body, {"UCX-Sent-At": str(ms(theirs))})).json()
    assert receipt["outcome"] == "refused"
    assert (front.clock() + timedelta(hours=2)).isoformat() in receipt["reason"]


async def rows(front: Front, question: LiteralString) -> list[tuple[Any, ...]]:
    async with front.pool.connection() as conn:
        return await (await conn.execute(question)).fetchall()
