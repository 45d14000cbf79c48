"""The agent's key is replaced; killed between any two steps, the agent still speaks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import rotation
from agent.delivery import Reply
from agent.enrol import enrol
from agent.identity import (
    KEY_FILE,
    Identity,
    load_identity,
    load_key,
    make_key,
    public_key,
    save_identity,
)
from agent.keychain import Keychain
from agent.lock import StateLock
from agent.options import Options
from agent.rotate import rotate
from agent.rotation import Busy, RotationError, Stale, due, fall_back, replace_key, retire_key
from agent.token import TokenMaker, sign
from agent.transport import Transport, Unreachable
from tests.agent.collector import AGENT
from tests.agent.test_with_collector import Half, RealClock, WrongClock
from tests.collector.kit import Front, running
from wire.clock import utcnow

DAY = 86_400.0


class Killed(BaseException):
    """The process ends here."""


def enrolled(state: Path) -> Identity:
    make_key(state)
    identity = Identity(AGENT, "acme", "main", "web-1", "http://127.0.0.1:1")
    save_identity(state, identity)
    return identity


# ---- when ---------------------------------------------------------------------------------------------


def test_a_key_is_replaced_when_it_is_old_and_hosts_do_not_come_together() -> None:
    """Ninety days and up to a tenth more, by the agent's id; never when the setting is 0."""
    ages = []
    for number in range(200):
        identity = Identity(f"{number:032x}", "t", "d", "h", "u", key_since=1e9)
        ages.append(next(day for day in range(200) if due(identity, 0, 1e9 + day * DAY, 90).replace))
        assert not due(identity, 0, 1e9 + 5000 * DAY, 0).replace
    assert (min(ages), max(ages)) == (91, 99)
    assert len(set(ages)) == 9


def test_what_was_begun_is_ended_whatever_the_schedule_says() -> None:
    """Also with the schedule off; a first key counts from its file's age."""
    assert due(Identity(AGENT, "t", "d", "h", "u", next_key="x"), 0, 5.0, 0).replace
    assert due(Identity(AGENT, "t", "d", "h", "u"), 1e9, 1e9 + 100 * DAY, 90).replace
    assert not due(Identity(AGENT, "t", "d", "h", "u"), 1e9, 1e9 + 80 * DAY, 90).replace
    former = Identity(AGENT, "t", "d", "h", "u", former_key="x", former_until=100.0)
    assert (due(former, 0, 99.0, 0).retire, due(former, 0, 101.0, 0).retire) == (False, True)


# ---- how ----------------------------------------------------------------------------------------------

STEPS = ("keep_key", "save_identity")


@pytest.mark.asyncio
async def test_killed_anywhere_the_agent_speaks_and_the_next_try_ends_it(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after each durable write and the request: a batch is taken with the key that agent.json
    names, and the replacement goes on from there. Two keys remain, and no stray file.

    Broken twin: with the switch before the request (steps 3 and 4 exchanged), a kill between the two leaves
    a key in force that the collector does not know: the batch after it is refused."""
    async with running(database_url, RealClock()) as front:
        await front.customer()
        token = await front.enrolment_token()
        await asyncio.to_thread(enrol, tmp_path, front.url, token, "web-1")
        killed = 0
        for point in range(20):
            before = load_identity(tmp_path).key
            with monkeypatch.context() as patch:
                fuse = Fuse(point)
                for step in STEPS:
                    patch.setattr(rotation, step, fuse.around(getattr(rotation, step)))
                try:
                    await asyncio.to_thread(replace_key, tmp_path, fuse.around(asker(tmp_path, front)))
                except Killed:
                    killed += 1
            await asyncio.to_thread(speak, tmp_path, front)
            if fuse.points <= point:
                break
            done = await asyncio.to_thread(replace_key, tmp_path, asker(tmp_path, front))
            await asyncio.to_thread(speak, tmp_path, front)
            assert done.key != before
            if point < 7:  # at the last point it was done already: then this was another one
                assert done.former_key == before
            retire_key(tmp_path, 0.0)
            assert key_files(tmp_path) == {done.key, done.former_key}
        assert killed == 8, "before and after: key file, agent.json, request, agent.json"


def key_files(state: Path) -> set[str]:
    return {path.name for path in state.glob("*.key")}


class Fuse:
    """Counts the points before and after each step, and kills at one of them."""

    def __init__(self, kill_at: int) -> None:
        self._kill_at = kill_at
        self.points = 0

    def point(self) -> None:
        self.points += 1
        if self.points == self._kill_at + 1:
            raise Killed

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def fused(*arguments: Any) -> Any:
            self.point()
            result = step(*arguments)
            self.point()
            return result

        return fused


def asker(state: Path, front: Front) -> rotation.Ask:
    """Requests signed with the key in force."""

    def ask(method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        identity = load_identity(state)
        bearer = sign(load_key(state), identity.agent_id, int(utcnow().timestamp()))
        transport = Transport(front.url)
        try:
            return transport.request(method, path, body, headers | {"Authorization": f"Bearer {bearer}"})
        finally:
            transport.close()

    return ask


def speak(state: Path, front: Front) -> None:
    """A frame and an event are delivered."""
    half = Half(state, front.url, load_identity(state).agent_id)
    half.put()
    half.drain()
    half.close()


def answers(status: int, slug: str) -> rotation.Ask:
    body = b'{"type":"urn:ucx:problem:%s","detail":"because"}' % slug.encode()
    return lambda *_: Reply(status, "application/problem+json", "", "", body, True)


def test_a_refusal_changes_nothing_but_the_key_that_waits(tmp_path: Path) -> None:
    """A proxy's page, a busy collector, a copy of this host that was first: the key in force stays."""
    enrolled(tmp_path)
    page: rotation.Ask = lambda *_: Reply(200, "text/html", "", "", b"<html>", True)  # noqa: E731
    for ask, kind in (
        (page, RotationError),
        (answers(503, "unavailable"), RotationError),
        (answers(409, "key-replaced"), Stale),
    ):
        with pytest.raises(kind):
            replace_key(tmp_path, ask)
        identity = load_identity(tmp_path)
        assert (identity.key, bool(identity.next_key)) == (KEY_FILE, True)
    assert len(list(tmp_path.glob("agent-*.key"))) == 1, "one key waits, not one per try"


def test_two_at_once_do_not_meet(tmp_path: Path) -> None:
    """The running agent and the command."""
    enrolled(tmp_path)
    other = StateLock(tmp_path / "identity.lock")
    other.acquire()
    with pytest.raises(Busy, match="try again"):
        replace_key(tmp_path, answers(503, "unavailable"))
    other.release()


# ---- in the running agent -----------------------------------------------------------------------------


@pytest.mark.asyncio
async def test_the_running_agent_replaces_its_key_when_it_is_due(tmp_path: Path, database_url: str) -> None:
    """On its own thread of delivery; the former key goes when its overlap is over; it says so in an event."""
    async with running(database_url, RealClock()) as front:
        await front.customer()
        identity = await asyncio.to_thread(enrol, tmp_path, front.url, await front.enrolment_token(), "web-1")
        told: list[str] = []
        now_s = [utcnow().timestamp()]
        passed_s, days = [0.0], [90.0]
        chain = Keychain(
            tmp_path,
            identity,
            lambda: days[0],
            lambda: now_s[0],
            lambda event_id, _: told.append(event_id),
            lambda: passed_s[0],
        )
        ask = asker(tmp_path, front)
        await asyncio.to_thread(chain.tend, ask)
        assert chain.identity.key == KEY_FILE, "not yet"
        days[0] = 1e-6
        now_s[0] += 1.0  # much more than that part of a day, however quickly it was enrolled
        passed_s[0] += 61
        await asyncio.to_thread(chain.tend, ask)
        assert (chain.identity.former_key, told) == (KEY_FILE, ["agent.key"])
        assert public_key(chain.tokens.key) == public_key(load_key(tmp_path, chain.identity.key))
        await asyncio.to_thread(speak, tmp_path, front)
        days[0] = 90.0
        now_s[0] += 8 * DAY
        passed_s[0] += 61
        await asyncio.to_thread(chain.tend, ask)
        assert not (tmp_path / KEY_FILE).exists()
        assert chain.identity.former_key == ""


@pytest.mark.asyncio
async def test_the_command_replaces_the_key_and_the_running_agent_follows(
    tmp_path: Path, database_url: str
) -> None:
    """Also on a host whose clock is a day off."""
    async with running(database_url, RealClock()) as front:
        await front.customer()
        identity = await asyncio.to_thread(enrol, tmp_path, front.url, await front.enrolment_token(), "web-1")
        chain = Keychain(tmp_path, identity, lambda: 0.0, lambda: 0.0, lambda *_: None)
        options = Options(tmp_path, tmp_path / "none.yaml", False)
        said = await asyncio.to_thread(rotate, options, WrongClock(86_400))
        assert re.search(r"'web-1' has a new key; the former one is accepted until 20\d\d-", said)
        assert chain.look()
        assert public_key(chain.tokens.key) == public_key(load_key(tmp_path))
        await asyncio.to_thread(speak, tmp_path, front)


def test_a_collector_that_was_restored_is_met_with_the_former_key(tmp_path: Path) -> None:
    """It knows nothing of the change: the former key is tried, is in force again, and the newer one is
    registered once more."""
    enrolled(tmp_path)
    body = b'{"key_since":"2026-01-01T00:00:00Z","retires_at":"2026-01-08T00:00:00Z"}'
    replace_key(tmp_path, lambda *_: Reply(200, "application/json", "", "", body, True))
    after = load_identity(tmp_path)
    chain = Keychain(tmp_path, after, lambda: 0.0, lambda: 0.0, lambda *_: None)
    assert chain.tokens.next_key(), "there is another one to try"
    asked: list[bytes] = []

    def ask(method: str, path: str, content: bytes, headers: dict[str, str]) -> Reply:
        asked.append(content)
        return Reply(200, "application/json", "", "", body, True)

    chain.tend(ask)
    assert load_identity(tmp_path).key == after.key
    assert public_key(load_key(tmp_path, KEY_FILE)).encode() in asked[0].split(b"new_key")[0]
    assert fall_back(tmp_path).key == KEY_FILE


@pytest.mark.asyncio
async def test_a_lost_answer_and_a_long_absence_lock_nobody_out(tmp_path: Path, database_url: str) -> None:
    """The collector has the new key, its answer was lost, and the host is away until the overlap is over: the
    key that waits is tried, is accepted, and the replacement is ended.

    Broken twin: with the key in force alone, the host is refused until a person enrols it (seen to fail)."""
    async with running(database_url, RealClock(), key_overlap_days=1e-9) as front:
        await front.customer()
        await asyncio.to_thread(enrol, tmp_path, front.url, await front.enrolment_token(), "web-1")
        ask = asker(tmp_path, front)

        def lost(*request: Any) -> Reply:
            assert ask(*request).status == 200
            raise Unreachable("the answer was lost")

        with pytest.raises(Unreachable):
            await asyncio.to_thread(replace_key, tmp_path, lost)
        chain = Keychain(tmp_path, load_identity(tmp_path), lambda: 0.0, lambda: 0.0, lambda *_: None)

        def signed(method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
            bearer = chain.tokens.token(utcnow().timestamp())
            transport = Transport(front.url)
            try:
                return transport.request(method, path, body, headers | {"Authorization": f"Bearer {bearer}"})
            finally:
                transport.close()

        def own() -> int:
            return signed("GET", "/v1/agent", b"", {}).status

        assert await asyncio.to_thread(own) == 401
        assert chain.tokens.next_key(), "there is another one to try"
        assert await asyncio.to_thread(own) == 200
        await asyncio.to_thread(chain.tend, signed)
        assert (chain.identity.next_key, chain.identity.former_key) == ("", KEY_FILE)
        assert await asyncio.to_thread(own) == 200


def test_trouble_with_the_key_never_disturbs_delivery(tmp_path: Path) -> None:
    """It is logged, and tried again an hour later."""
    enrolled(tmp_path)
    passed_s = [0.0]
    asked: list[str] = []

    def ask(method: str, path: str, content: bytes, headers: dict[str, str]) -> Reply:
        asked.append(path)
        raise Unreachable("no")

    chain = Keychain(
        tmp_path, load_identity(tmp_path), lambda: 90, lambda: 1e12, lambda *_: None, lambda: passed_s[0]
    )
    for _ in range(10):
        chain.tend(ask)
        passed_s[0] += 600
    assert len(asked) == 2
    assert public_key(chain.tokens.key) == public_key(load_key(tmp_path, KEY_FILE))


def test_a_program_that_was_copied_takes_a_name_of_its_own() -> None:
    """After a renumbering; one without a name keeps having none."""
    key = Ed25519PrivateKey.generate()
    maker = TokenMaker(key, AGENT, "abc")
    before = maker.token(1e9)
    maker.rename_run()
    assert maker.token(1e9) != before
    plain = TokenMaker(key, AGENT)
    first = plain.token(1e9)
    plain.rename_run()
    assert plain.token(1e9) == first
