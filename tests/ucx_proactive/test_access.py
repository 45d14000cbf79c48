"""Who may do what, over all addresses of the running application: with every role, as every kind of key.

The list of addresses is the application's own (``routes.py`` must name every one), so that none is forgotten.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import iter_route_contexts

from collector.route import BATCHES, LAYOUTS
from tests.collector.kit import Front
from tests.ucx_proactive.routes import PROBES, Access, Ids, Probe, Who, may
from tests.ucx_proactive.sites import seeded
from ucx_proactive.guard import Guard
from wire.access import Role

SECRET = "xyzzy"
"""Stands in whatever the other customer has, and in no request."""
OWN = "plugh"
"""The same of our own customer."""
OURS, OTHER = ("acme", "main"), ("globex", "annex")
OPEN = (Access.ANYBODY, Access.SIGNED, Access.LINK)
Snapshot = Counter[tuple[str, str]]


def addresses(front: Front) -> set[str]:
    """Every method and path that the process answers, as the application itself knows them."""
    guard = front.process.app
    assert isinstance(guard, Guard)
    framework = guard._app
    assert isinstance(framework, FastAPI)
    found = {f"POST {BATCHES}", f"PUT {LAYOUTS}{{digest}}"}
    for route in iter_route_contexts(framework.routes):
        found |= {f"{method} {route.path}" for method in route.methods or () if method != "HEAD"}
    return found


async def test_every_address_is_tried(front: Front) -> None:
    """What the application answers and what is tried here are the same: a new route cannot be forgotten."""
    assert addresses(front) == {probe.route for probe in PROBES}


# --- asking -------------------------------------------------------------------------------------------------


async def asked(front: Front, probe: Probe, ids: Ids, who: Who | None) -> httpx.Response:
    """The request, asked by somebody; of a stream the first lines."""
    headers = dict(who.headers) if who else {}
    content = None
    if probe.body is not None and (body := probe.body(ids)) is not None:
        content = body if probe.text else json.dumps(body)
        headers["Content-Type"] = "application/x-www-form-urlencoded" if probe.text else "application/json"
    url, query = probe.url(ids), probe.parameters(ids)
    if probe.path.endswith("/stream"):
        return await _first_lines(front, url, headers)
    return await front.http.request(probe.method, url, params=query, headers=headers, content=content)


async def _first_lines(front: Front, url: str, headers: dict[str, str]) -> httpx.Response:
    """From an hour ago on: all that the asker is told of at once."""
    told = b""
    since = int((front.clock() - timedelta(hours=1)).timestamp() * 1e6)
    async with front.http.stream("GET", url, headers=headers | {"Last-Event-ID": str(since)}) as answer:
        async for chunk in answer.aiter_bytes():
            told += chunk
            if answer.status_code != 200 or b"data:" in told or b": beat" in told:
                break
    return httpx.Response(answer.status_code, content=told)


async def keys_of(front: Front, tenant: str, deployment: str) -> list[Who]:
    """A key of every role, bound as narrowly and as widely as there are."""
    found = [Who(Role.INTEGRATION, "deployment", await front.key(Role.INTEGRATION, tenant, deployment))]
    for role in (Role.READER, Role.SUPPORT, Role.ADMIN):
        found.append(Who(role, "deployment", await front.key(role, tenant, deployment)))
        found.append(Who(role, "tenant", await front.key(role, tenant)))
    return found


async def staff_keys(front: Front) -> list[Who]:
    """A key of every role of the vendor's own."""
    roles = (Role.READER, Role.SUPPORT, Role.ADMIN)
    return [Who(role, "staff", await front.key(role)) for role in roles]


def _is_let_in(probe: Probe, answer: httpx.Response) -> bool:
    assert answer.status_code < 500, (probe.route, answer.text)
    return answer.status_code not in (401, 403)


# --- roles --------------------------------------------------------------------------------------------------


async def test_nothing_is_answered_without_a_credential(front: Front) -> None:
    """Nobody gets anything but a 401, except where the address itself checks a proof: there 403 or 404."""
    ids, _ = await seeded(front, *OURS, OWN)
    for probe in PROBES:
        answer = await asked(front, probe, ids, None)
        if probe.access is Access.ANYBODY:
            assert OWN not in answer.text, probe.route
        elif probe.access in OPEN:
            assert answer.status_code in (403, 404), (probe.route, answer.status_code, answer.text)
        else:
            assert answer.status_code == 401, (probe.route, answer.status_code)


async def test_a_role_is_let_in_where_the_table_says_and_nowhere_else(front: Front) -> None:
    """Each request is right in all but the asker: who may is let in, whoever may not is refused with 403."""
    ids, agent = await seeded(front, *OURS, OWN)
    wrong = []
    token = Who(Role.AGENT, "host", {"Authorization": f"Bearer {agent.token()}"})
    for probe in PROBES:
        if probe.access not in (*OPEN, Access.AGENT):
            answer = await asked(front, probe, ids, token)
            if answer.status_code != 403:
                wrong.append((str(token), probe.route, answer.status_code, answer.text[:100]))
    for who in (*await keys_of(front, *OURS), *await staff_keys(front)):
        for probe in PROBES:
            if probe.access in OPEN:
                continue
            answer = await asked(front, probe, ids, who)
            if probe.access is Access.AGENT:
                if answer.status_code not in (401, 403):
                    wrong.append((str(who), probe.route, answer.status_code, "agents only"))
            elif _is_let_in(probe, answer) is not may(who, probe.access):
                wrong.append((str(who), probe.route, answer.status_code, answer.text[:100]))
            elif not may(who, probe.access) and answer.status_code != 403:
                wrong.append((str(who), probe.route, answer.status_code, "not a plain refusal"))

    assert wrong == []


# --- one customer against another ---------------------------------------------------------------------------


async def snapshot(front: Front) -> Snapshot:
    """Every row of every table, but for the collector's own upkeep."""
    found: Snapshot = Counter()
    async with front.pool.connection() as conn:
        names = await (
            await conn.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
                " AND relkind IN ('r', 'p') AND NOT relispartition AND relname <> 'upkeep_job'"
            )
        ).fetchall()
        for (name,) in names:
            rows = await (await conn.execute(f"SELECT to_jsonb(x)::text FROM {name} x".encode())).fetchall()
            found.update((name, row[0]) for row in rows)
    return found


def mixed(ours: Ids, theirs: Ids) -> Ids:
    """Our own names beside their numbers."""
    known = {name: getattr(theirs, name) for name in Ids.__dataclass_fields__}
    names = ("tenant", "deployment", "host", "tenant_id", "deployment_id")
    return Ids(**known | {name: getattr(ours, name) for name in names})


def absent(theirs: Ids) -> Ids:
    """The same shape, and nothing of it is there."""
    uuid = "00000000-0000-4000-8000-00000000abcd"
    known = {name: getattr(theirs, name) for name in Ids.__dataclass_fields__}
    numbers = {name: 987_654 for name, value in known.items() if isinstance(value, int)}
    others = {"silence_id": uuid, "window_id": uuid, "page_id": uuid, "agent_id": "0" * 32}
    names = {"tenant": "nobody", "deployment": "nowhere", "host": "nothing", "number": "UCX-2026-987654"}
    return Ids(**known | numbers | others | names)


def shape(answer: httpx.Response, ids: Ids) -> tuple[int, str]:
    """What an answer tells beyond repeating the request."""
    text = answer.text
    sent = (value for name in Ids.__dataclass_fields__ if isinstance(value := getattr(ids, name), str))
    for value in sorted(sent, key=len, reverse=True):
        text = text.replace(value, "#")
    return answer.status_code, re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d+", "#", text)


def shows(answer: httpx.Response, theirs: Ids) -> bool:
    """Whether there is anything of theirs in it: their texts, or their names as those of something."""
    names = f"{theirs.tenant if theirs.tenant != OURS[0] else '-'}|{theirs.deployment}|{theirs.host}"
    return SECRET in answer.text or bool(
        re.search(f'"(tenant|deployment|host|name)": ?"({names})"', answer.text)
    )


@pytest.mark.parametrize("other", [OTHER, (OURS[0], "annex")], ids=["another customer", "another site"])
async def test_nothing_of_anothers_is_shown_changed_or_betrayed(front: Front, other: tuple[str, str]) -> None:
    """Against another customer's site with all keys of ours; against another site of our own customer with
    keys that are bound to ours. Each request that names theirs, and each that lists: nothing of theirs is
    told, no row that was there is touched, none is added for them - and the answer is the one that somebody
    gets who names what does not exist.

    Really found so, each mended since: a deployment's admin could make itself a key of the whole customer,
    and revoke agents and keys of other sites; its reader saw their agents and silences; who asked for a
    maintenance window or a key of a customer could tell from the refusal whether there was such a one."""
    ours, _ = await seeded(front, *OURS, OWN)
    theirs, _ = await seeded(front, *other, SECRET)
    whos = [w for w in await keys_of(front, *OURS) if other == OTHER or w.bound == "deployment"]
    wrong: list[Any] = []
    before = await snapshot(front)
    for who in whos:
        for probe in (p for p in PROBES if p.access not in (*OPEN, Access.AGENT)):
            for ids in (theirs, mixed(ours, theirs)):
                answer = await asked(front, probe, ids, who)
                _is_let_in(probe, answer)
                if shows(answer, theirs):
                    wrong.append(("shown", str(who), probe.route, answer.text[:200]))
            if not probe.names_something:
                continue
            told = await asked(front, probe, theirs, who)
            nothing = await asked(front, probe, absent(theirs), who)
            listed = told.is_success and nothing.is_success
            if not listed and shape(told, theirs) != shape(nothing, absent(theirs)):
                wrong.append(("betrayed", str(who), probe.route, told.text[:150], nothing.text[:150]))
    after = await snapshot(front)
    wrong += [("changed", table, row[:150]) for table, row in before - after]
    wrong += [
        ("added", table, row[:150]) for table, row in after - before if _is_for(json.loads(row), ours, theirs)
    ]

    assert wrong == []


def _is_for(row: dict[str, Any], ours: Ids, theirs: Ids) -> bool:
    """Whether a new row is theirs, or of our customer beyond our own site."""
    if row.get("tenant_id") not in (None, ours.tenant_id):
        return True
    return row.get("deployment_id") == theirs.deployment_id or row.get("host_id") == theirs.host_id


async def test_the_probes_can_see(front: Front) -> None:
    """The twin: asked with the owner's own key, the same requests do show SECRET in most lists."""
    theirs, _ = await seeded(front, *OTHER, SECRET)
    owner = Who(Role.ADMIN, "tenant", await front.key(Role.ADMIN, OTHER[0]))
    shown = set()
    for probe in PROBES:
        if probe.method == "GET" and probe.access in (Access.READER, Access.ADMIN):
            answer = await asked(front, probe, theirs, owner)
            if shows(answer, theirs):
                shown.add(probe.path)
    expected = {p.path for p in PROBES if p.method == "GET" and p.access in (Access.READER, Access.ADMIN)}
    blind = {"/api/v2/status", "/api/v2/receivers", "/v1/series", "/v1/hosts/{host_id}/latest"}
    assert expected - shown == blind
