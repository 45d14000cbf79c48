"""Who is calling: agents by their signed tokens, people and services by their API keys.

Both are believed for at most ``credential_cache_s`` seconds without asking the database, counted from before
the question was asked: a revocation therefore bites within that time in every collector process.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import secrets
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg_pool import PoolTimeout

from alerting.evaluate import HostKey, HostScope
from collector import token
from collector.cache import Entry, TtlCache
from collector.runs import Heard, Runs, hear
from collector.together import Together
from storage import arrays
from storage.pool import Pool
from storage.sql import Queries
from wire.access import Principal, Role
from wire.clock import Clock
from wire.problem import Unauthorised

log = logging.getLogger(__name__)

Q = Queries.load("collector")
API_KEY_PREFIX = "ucxk_"
LOOK_AGAIN_S = 1.0
"""An agent whose token is by no known key is looked up anew unless that was done this short a while ago."""
PROVEN_TOKENS = 50_000
"""Tokens whose signature check is remembered; past twice as many, the older half is forgotten."""
RENEW_PAST = 0.5
"""Part of its time after which what is known of an agent in use is asked for anew, ahead of its batches..."""
IN_USE_S = 120.0
"""...and it counts as in use for so long: most agents report every few seconds, the slowest once a minute."""
RENEWED_AT_ONCE = 1_000


def new_secret(prefix: str) -> str:
    """A fresh secret of 256 random bits, as in ``ucxk_<43 base64url characters>``."""
    return prefix + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> bytes:
    """What the database keeps of a secret. One round of SHA-256 suffices: the secret has 256 random bits."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def bearer_of(authorization: str | None) -> str:
    """The token of an ``Authorization: Bearer`` header, or the API key that stands as the password in a
    ``Basic`` one, for programs that know nothing else. Raises Unauthorised."""
    scheme, _, bearer = (authorization or "").partition(" ")
    if scheme.lower() == "basic" and (password := _password(bearer)).startswith(API_KEY_PREFIX):
        return password
    if scheme.lower() != "bearer" or not bearer.strip():
        raise Unauthorised("Send 'Authorization: Bearer <token>': an API key or an agent's signed token.")
    return bearer.strip()


def _password(credentials: str) -> str:
    """The password in Basic credentials (RFC 7617); empty when they are none."""
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode().partition(":")[2]
    except ValueError:
        return ""


class Agent(msgspec.Struct, frozen=True):
    """An enrolled agent as the database knows it."""

    agent_id: UUID
    scope: HostScope
    public_key: bytes
    """Ed25519, 32 bytes."""
    revoked_at: datetime | None
    replaced_keys: tuple[tuple[bytes, datetime], ...] = ()
    """Keys that it had before, and until when they are accepted."""
    predecessors: frozenset[str] = frozenset()
    """Ids of the agents that spoke for this host before (32 hex digits): their batches may still come."""
    run: str = ""
    """Which start of its program spoke last."""
    name: str = ""
    """Its id as batches write it, 32 hex digits; filled in here."""
    key: bytes = b""
    """Its id as the ledger sorts by it, 16 bytes; filled in here."""
    host: HostKey = HostKey(0, 0)
    """Its host's row in host_state; filled in here."""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "name", self.agent_id.hex)
        msgspec.structs.force_setattr(self, "key", self.agent_id.bytes)
        msgspec.structs.force_setattr(self, "host", HostKey(self.scope.tenant_id, self.scope.host_id))

    def keys(self, now: datetime) -> list[bytes]:
        """The keys that are accepted at ``now``, the one in force first."""
        return [self.public_key, *(key for key, until in self.replaced_keys if until > now)]

    @property
    def principal(self) -> Principal:
        """The agent as a caller of the HTTP API."""
        return Principal(
            f"agent {self.agent_id.hex}",
            Role.AGENT,
            self.scope.tenant_id,
            self.scope.deployment_id,
            self.scope.host_id,
        )


class _Proven:
    """A token whose signature was found good."""

    __slots__ = ("claims", "entry", "public_key")

    def __init__(self, claims: token.Claims, public_key: bytes, entry: Entry[Agent | None] | None) -> None:
        self.claims = claims
        self.public_key = public_key
        self.entry = entry
        """What is known of its agent: renewed, dropped or grown old in place."""


OnTwins = Callable[[Agent, datetime], None]
"""Told when two programs speak under an agent's identity."""


class Directory:
    """Authenticates bearer tokens; one per process."""

    on_twins: OnTwins | None = None

    def __init__(
        self, pool: Pool, clock: Clock, *, ttl_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._monotonic = monotonic
        self._together: Together[UUID, Agent] = Together(self._load_agents)
        self._renew_s = ttl_s * (1 - RENEW_PAST) / 2
        self._agents: TtlCache[UUID, Agent | None] = TtlCache(ttl_s=ttl_s, size=200_000, monotonic=monotonic)
        self._keys: TtlCache[bytes, Principal | None] = TtlCache(ttl_s=ttl_s, monotonic=monotonic)
        self._proven: dict[bytes, _Proven] = {}
        self._proven_before: dict[bytes, _Proven] = {}
        self._newest: dict[UUID, bytes] = {}
        """The token of each agent that was proven last."""

    async def principal(self, authorization: str | None) -> Principal:
        """The caller named by an ``Authorization`` header. Raises Unauthorised."""
        bearer = bearer_of(authorization)
        if bearer.startswith(API_KEY_PREFIX):
            return await self._by_key(bearer)
        return (await self._by_token(bearer)).principal

    async def agent(self, authorization: str | None) -> Agent:
        """The agent named by an ``Authorization`` header. Raises Unauthorised."""
        bearer = bearer_of(authorization)
        if bearer.startswith(API_KEY_PREFIX):
            raise Unauthorised(
                "Batches and layouts are sent with an agent's signed token, not with an API key."
            )
        return await self._by_token(bearer)

    def known(self, authorization: bytes, now: datetime) -> Agent | None:
        """The agent, when the database need not be asked. None: ask ``agent``. Raises Unauthorised."""
        proven = self._proven_by(authorization)
        claims = (
            proven.claims if proven else token.read(authorization.removeprefix(b"Bearer ").decode("latin-1"))
        )
        entry = (proven and proven.entry) or self._agents.entry(claims.agent_id)
        agent = self._agents.young(entry) if entry else None
        if agent is None or agent.revoked_at is not None:
            return None
        claims.check_time(now)
        if proven and (proven.public_key == agent.public_key or proven.public_key in agent.keys(now)):
            return agent
        if claims.run not in ("", agent.run) or not self._is_proven(authorization, claims, agent, now):
            return None  # who speaks is to be noted, or the key may be a new one: the database is asked
        return agent

    def _proven_by(self, authorization: bytes) -> _Proven | None:
        return self._proven.get(authorization) or self._proven_before.get(authorization)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep what is known of the agents in use young until ``stop``: many at once, ahead of their batches.

        Each on its own would cost a question of its own every half minute; a failed round costs just that."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), max(self._renew_s, 0.1))
                return
            try:
                await self.renew()
            except (psycopg.Error, PoolTimeout, OSError) as fault:
                log.warning("what is known of the agents in use could not be renewed ahead: %r", fault)

    async def renew(self) -> None:
        """Ask anew for all agents in use whose answer begins to age."""
        ageing = self._agents.ageing(past=RENEW_PAST, used_within_s=IN_USE_S)
        for first in range(0, len(ageing), RENEWED_AT_ONCE):
            await self._renew(ageing[first : first + RENEWED_AT_ONCE])

    async def _renew(self, agent_ids: list[UUID]) -> None:
        asked_at = self._monotonic()
        found = await self._load_agents(agent_ids)
        for agent_id in agent_ids:
            self._agents.renew(agent_id, found.get(agent_id), asked_at)

    def forget_agent(self, agent_id: UUID) -> None:
        """Ask the database again about this agent (it has just changed)."""
        self._agents.forget(agent_id)

    def forget_key(self, key_hash: bytes) -> None:
        """Ask the database again about this API key."""
        self._keys.forget(key_hash)

    async def _by_key(self, key: str) -> Principal:
        principal = await self._keys.get(hash_secret(key), self._load_key)
        if principal is None:
            raise Unauthorised("The API key is unknown or was revoked.")
        return principal

    async def _by_token(self, bearer: str) -> Agent:
        authorization = b"Bearer " + bearer.encode("utf-8", "surrogatepass")
        proven = self._proven_by(authorization)
        claims = proven.claims if proven else token.read(bearer)
        claims.check_time(self._clock())
        agent = await self._agents.get(claims.agent_id, self._load_agent)
        if agent is None:
            raise Unauthorised("No agent of this id is enrolled here.")
        if agent.revoked_at is not None:
            raise Unauthorised("This agent's credential was revoked; enrol the host again.", slug="revoked")
        if proven is None or proven.public_key not in agent.keys(self._clock()):
            agent = await self._prove(authorization, claims, agent)
        else:  # what it held on to may have been dropped: ``known`` would never know it again
            proven.entry = self._agents.entry(claims.agent_id)
        return agent

    async def _prove(self, authorization: bytes, claims: token.Claims, agent: Agent) -> Agent:
        """Check the signature, once per token: what is true of these bytes and this key stays true.

        A key that we do not know may have been put in force through another collector a moment ago."""
        good = self._is_proven(authorization, claims, agent, self._clock())
        if not good and self._agents.age_s(agent.agent_id) > LOOK_AGAIN_S:
            self._agents.forget(agent.agent_id)
            agent = await self._agents.get(agent.agent_id, self._load_agent) or agent
            good = agent.revoked_at is None and self._is_proven(authorization, claims, agent, self._clock())
        if not good:
            raise _not_signed(claims, agent)
        if claims.run not in ("", agent.run):
            await self._heard(agent, claims.run)
        return agent

    def _is_proven(self, authorization: bytes, claims: token.Claims, agent: Agent, now: datetime) -> bool:
        """True when one of the agent's keys made the signature; then that is remembered."""
        key = next((key for key in agent.keys(now) if claims.signed_by(key)), None)
        if key is None:
            return False
        if len(self._proven) >= PROVEN_TOKENS:
            self._proven, self._proven_before, self._newest = {}, self._proven, {}
        # An agent uses one token at a time: the one before would only fill the memory.
        self._proven.pop(self._newest.get(claims.agent_id, b""), None)
        self._newest[claims.agent_id] = authorization
        self._proven[authorization] = _Proven(claims, key, self._agents.entry(claims.agent_id))
        return True

    async def _heard(self, agent: Agent, run: str) -> None:
        """Note who speaks under an identity. Trouble with that is no reason to turn the agent away."""
        now = self._clock()
        try:
            async with self._pool.connection() as conn, conn.transaction():
                heard = await note_run(conn, agent, run, now)
        except (psycopg.Error, PoolTimeout, OSError) as fault:
            log.warning("who speaks as agent %s could not be noted: %r", agent.agent_id.hex, fault)
            return
        self._agents.forget(agent.agent_id)
        if heard is Heard.TWO:
            log.warning(
                "two agents speak in turn as %s of host %s", agent.agent_id.hex, agent.scope.host_name
            )
            if self.on_twins is not None:
                self.on_twins(agent, now)

    async def _load_agent(self, agent_id: UUID) -> Agent | None:
        return await self._together.ask(agent_id)

    async def _load_agents(self, agent_ids: list[UUID]) -> dict[UUID, Agent]:
        ids = arrays.uuids([agent_id.bytes for agent_id in agent_ids])
        async with self._pool.connection() as conn:
            rows = await (await conn.execute(Q.agents_by_id, {"agent_ids": ids})).fetchall()
        return {row[-1]: _agent(row[-1], row) for row in rows}

    async def _load_key(self, key_hash: bytes) -> Principal | None:
        async with self._pool.connection() as conn:
            row = await (await conn.execute(Q.api_key_by_hash, {"key_hash": key_hash})).fetchone()
        return Principal(row[0], Role(row[1]), row[2], row[3]) if row else None


def _agent(agent_id: UUID, row: tuple[Any, ...]) -> Agent:
    replaced = tuple(zip(row[8], row[9], strict=True))
    return Agent(
        agent_id, HostScope(*row[:6]), row[6], row[7], replaced, frozenset(a.hex for a in row[10]), row[11]
    )


def _not_signed(claims: token.Claims, agent: Agent) -> Unauthorised:
    if any(claims.signed_by(key) for key, _ in agent.replaced_keys):
        return Unauthorised(
            "This key was replaced and has retired; another copy of this host holds the newer one."
            " Enrol this host again.",
            slug="key-retired",
        )
    return Unauthorised("The token's signature is not by this agent's key.")


async def note_run(conn: AsyncConnection[tuple[Any, ...]], agent: Agent, run: str, now: datetime) -> Heard:
    """Remember which start of an agent's program speaks; what it says about the identity."""
    scope = {"tenant_id": agent.scope.tenant_id, "agent_id": agent.agent_id}
    row = await (await conn.execute(Q.run_lock, scope)).fetchone()
    known = Runs(row[0], tuple(row[1]), row[2], row[3]) if row else None
    runs, heard = hear(known, run, now)
    if heard is not Heard.SAME:
        former = {"former": list(runs.former), "returns": runs.returns, "returned_at": runs.returned_at}
        await conn.execute(Q.run_save, {**scope, **former, "run": runs.current, "now": now})
    return heard
