"""Bad input against every address: never a 5xx, every refusal a problem+json that says what to do."""

from __future__ import annotations

import asyncio
import gzip
import json
import secrets
import socket
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.collector.kit import Front, event, frames, lasting_key
from wire.problem import CONTENT_TYPE

CORPUS: list[bytes] = [
    b"",
    b"null",
    b"[]",
    b"{",
    b'"text"',
    b"123",
    b"{}" * 2,
    b'{"a": NaN}',
    b'{"name": "a\\u0000b", "role": "reader"}',
    b'{"name": "\\ud800", "role": "reader"}',
    b'{"name": "x", "role": "\\ud800"}',
    b'{"tenant": "\\udfff", "deployment": "x", "ttl_s": 99999999999999999999999}',
    b'{"facts": {"\\ud800": "\\ud800"}}',
    b'{"ttl_s": 1e400}',
    b'{"ttl_s": ' + b"9" * 5000 + b"}",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b"\xff\xfe\x00",
    b"\xef\xbb\xbf{}",
    bytes(range(256)),
    b"\x96\x01\xa6frames",
    b"\x96\x01\xa6events\xa0",
    b"\xdd\xff\xff\xff\xff",
    b"\xc1" * 100,
    secrets.token_bytes(5000),
]
TYPES = [
    "application/json",
    "application/octet-stream",
    "application/x-www-form-urlencoded",
    "multipart/form-data",
    "",
]
PATH_VALUES = [
    "0",
    "-1",
    "1",
    str(2**63),
    str(10**400),
    "a",
    "%00",
    "%ff",
    "%ed%a0%80",
    "..%2f",
    "1e3",
    "\u0661",
]


async def require_good(front: Front, key: dict[str, str]) -> None:
    """The key must have lasted, or the requests before have seen nothing but 401."""
    assert (await front.http.get("/v1/hosts", headers=key)).status_code == 200


def operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(method.upper(), path) for path, found in document["paths"].items() for method in found]


def check(answer: httpx.Response, *context: object) -> None:
    """Below 500; a refusal is a problem with all its members and no traceback."""
    assert answer.status_code < 500, (*context, answer.text[:500])
    assert "date" in answer.headers
    if answer.status_code >= 400 and answer.content:
        assert answer.headers["content-type"] == CONTENT_TYPE, (*context, answer.text[:300])
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert problem["type"]
        assert problem["title"]
        assert problem["detail"]
        assert "Traceback" not in answer.text


async def callers(front: Front) -> list[dict[str, str]]:
    agent = await front.agent()
    return [await lasting_key(front), {"Authorization": f"Bearer {agent.token()}"}, {}]


async def test_the_corpus_of_bodies(front: Front) -> None:
    """Each body at every third operation, as JSON and as bytes, by an admin and by an agent."""
    document = (await front.http.get("/openapi.json")).json()
    callers_ = await callers(front)
    targets = [(method, path) for method, path in operations(document) if method != "GET"]
    for number, body in enumerate(CORPUS):
        for method, path in targets[number % 3 :: 3]:
            headers = callers_[number % 2] | {"Content-Type": TYPES[number % len(TYPES)]}
            check(
                await front.http.request(method, _filled(path, "1"), content=body, headers=headers),
                method,
                path,
                body,
            )
    await require_good(front, callers_[0])


async def test_odd_values_in_every_path_and_query(front: Front) -> None:
    """Huge, negative, not numbers, NUL, half a surrogate: in each parameter of each operation."""
    document = (await front.http.get("/openapi.json")).json()
    admin = await lasting_key(front)
    for method, path in operations(document):
        names = [
            p["name"]
            for p in document["paths"][path][method.lower()].get("parameters", [])
            if p["in"] == "query"
        ]
        for value in PATH_VALUES:
            query = "&".join(f"{name}={value}" for name in names)
            url = f"{_filled(path, value)}?{query}"
            answer = await front.http.request(
                method, url, headers=admin, content=None if method == "GET" else b"{}"
            )
            check(answer, method, url)
    await require_good(front, admin)


def _filled(path: str, value: str) -> str:
    while "{" in path:
        path = path[: path.index("{")] + value + path[path.index("}") + 1 :]
    return path


async def test_unknown_addresses_and_methods_are_problems(front: Front) -> None:
    """404 and 405 have the same shape as everything else; 405 names what is allowed."""
    admin = await lasting_key(front)
    answers = [
        await front.http.get("/nowhere", headers=admin),
        await front.http.get("/v1/hosts/", headers=admin),
        await front.http.delete("/v1/hosts", headers=admin),
        await front.http.get("/v1/batches", headers=admin),
        await front.http.post("/v1/layouts/x", headers=admin),
    ]
    assert [answer.status_code for answer in answers] == [404, 404, 405, 405, 405]
    for answer in answers:
        check(answer)
    assert [answer.headers.get("allow") for answer in answers[2:]] == ["GET", "POST", "PUT"]


async def test_compressed_and_declared_nonsense(front: Front) -> None:
    """Bombs, unknown encodings, absurd send times: refused by name."""
    agent = await front.agent()
    body = agent.batch(events=[event(front.clock())])
    cases: list[tuple[int, bytes, dict[str, str]]] = [
        (413, gzip.compress(b"\0" * 50_000_000), {"Content-Encoding": "gzip"}),
        (415, body, {"Content-Encoding": "br"}),
        (400, body, {"Content-Encoding": "gzip"}),
        (400, body, {"UCX-Sent-At": "yesterday"}),
        (400, body, {"UCX-Sent-At": "99999999999999"}),
        (413, b"x" * 2_000_000, {}),
        (422, b"x", {}),
    ]
    for status, content, headers in cases:
        answer = await agent.post(content, headers)
        assert answer.status_code == status, answer.text
        check(answer)


async def test_an_endless_body_is_cut_off(front: Front) -> None:
    """Chunks without end, without a length: 413 after the limit, and the connection is closed."""
    agent = await front.agent()

    async def endless() -> Any:
        while True:
            yield b"x" * 65_536

    headers = {"Authorization": f"Bearer {agent.token()}"}
    try:
        answer = await front.http.post("/v1/batches", content=endless(), headers=headers)
    except httpx.TransportError:
        return  # cut off while sending: as good
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "raw",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/batches HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"POST /v1/batches HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /v1/hosts\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_what_is_not_http_does_not_hurt(front: Front, raw: bytes) -> None:
    """Broken requests on the wire: a refusal or a closed connection, and the next request is served."""
    host, port = front.process.address or ("", 0)
    answer = await asyncio.to_thread(_talk, host, port, raw)
    assert b" 500 " not in answer[:20]
    assert (await front.http.get("/healthz")).status_code == 200


def _talk(host: str, port: int, raw: bytes) -> bytes:
    with socket.create_connection((host, port), timeout=10) as conn:
        try:
            conn.sendall(raw)
            conn.settimeout(1)
            return conn.recv(4096)
        except (TimeoutError, ConnectionError):
            return b""


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from(["\ud800", "\0", "9" * 400]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
FIELDS = [
    "token",
    "host_name",
    "public_key",
    "facts",
    "tenant",
    "deployment",
    "ttl_s",
    "name",
    "role",
    "note",
]
PATCH = st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5)
OBJECT = st.one_of(JSON, PATCH)


async def test_generated_json_against_every_operation(front: Front) -> None:
    """A few hundred generated documents, spread over all operations that take a body."""
    document = (await front.http.get("/openapi.json")).json()
    targets = [(m, _filled(p, "1")) for m, p in operations(document) if m != "GET"]
    admin = await lasting_key(front)
    bodies: list[Any] = []

    @settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck), deadline=None)
    @given(OBJECT)
    def collect(value: Any) -> None:
        bodies.append(value)

    collect()
    headers = admin | {"Content-Type": "application/json"}
    for number, value in enumerate(bodies):
        body = json.dumps(value).encode()
        for method, path in targets[number % 5 :: 5]:
            check(await front.http.request(method, path, content=body, headers=headers), method, path, body)
    await require_good(front, admin)


MSGPACK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=12)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=6),
    max_leaves=20,
)


async def test_generated_batches_are_receipts_or_problems(front: Front) -> None:
    """Arrays that nearly are batches, and true batches with bytes changed: never a 5xx."""
    agent = await front.agent()
    await agent.put_layout()
    good = agent.batch(frames=frames((front.clock(), [0.5, None])))
    bodies: list[bytes] = []

    @settings(max_examples=60, database=None, suppress_health_check=list(HealthCheck), deadline=None)
    @given(st.lists(MSGPACK, max_size=7), st.integers(0, len(good) - 1), st.integers(0, 255))
    def collect(parts: list[Any], place: int, byte: int) -> None:
        bodies.append(msgspec.msgpack.encode(parts))
        bodies.append(msgspec.msgpack.encode([1, "frames", agent.agent_id, 1, 1, parts]))
        bodies.append(msgspec.msgpack.encode([1, "events", agent.agent_id, 1, 2, parts]))
        bodies.append(good[:place] + bytes([byte]) + good[place + 1 :])

    collect()
    answers = await asyncio.gather(*(agent.post(body) for body in bodies))
    for body, answer in zip(bodies, answers, strict=True):
        check(answer, body)
        if answer.status_code == 200:
            assert answer.json()["outcome"] in ("stored", "refused", "renumber")
