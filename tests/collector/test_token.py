"""The agent's signed token: one algorithm, one audience, a short life, and a clean refusal otherwise."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from collector import token
from wire.problem import Unauthorised

NOW = datetime(2026, 11, 23, 5, tzinfo=UTC)
KEY = Ed25519PrivateKey.generate()
AGENT = uuid4().hex


def minted(
    headers: dict[str, Any] | None = None, key: Any = KEY, algorithm: str = "EdDSA", **changes: Any
) -> str:
    at = NOW.timestamp()
    claims = {"iss": AGENT, "aud": "ucx-collector", "iat": at, "exp": at + 60} | changes
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": AGENT} | (headers or {}))


def public(key: Ed25519PrivateKey = KEY) -> bytes:
    return key.public_key().public_bytes_raw()


def test_a_token_by_a_standard_library_is_read_and_verified() -> None:
    """What PyJWT signs, we accept: the format is the standard one."""
    claims = token.read(minted())
    assert claims.agent_id.hex == AGENT
    claims.check_time(NOW)
    assert claims.signed_by(public())


def test_another_key_or_changed_claims_are_noticed() -> None:
    """The signature binds header and claims to one key."""
    assert not token.read(minted()).signed_by(public(Ed25519PrivateKey.generate()))
    head, payload, signature = minted().split(".")
    other = minted(exp=NOW.timestamp() + 61).split(".")[1]
    assert other != payload
    assert not token.read(f"{head}.{other}.{signature}").signed_by(public())


@pytest.mark.parametrize(
    ("case", "text"),
    {
        "algorithm none": f"{'.'.join(minted().split('.')[:2])}.".replace(
            minted().split(".")[0],
            base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": AGENT}).encode()).decode().rstrip("="),
        ),
        "a shared secret": minted(key="s" * 32, algorithm="HS256"),
        "another audience": minted(aud="someone-else"),
        "a list of audiences": minted(aud=["ucx-collector"]),
        "another issuer": minted(iss=uuid4().hex),
        "no agent id": minted(headers={"kid": "../../etc"}, iss="../../etc"),
        "a life of a day": minted(exp=NOW.timestamp() + 86_400),
        "an end before its beginning": minted(exp=NOW.timestamp() - 1),
        "a time that is no number": minted(iat="now"),
        "a time that is not finite": minted().split(".")[0]
        + "."
        + base64.urlsafe_b64encode(b'{"iss":"x","aud":"ucx-collector","iat":1e999,"exp":1e999}').decode()
        + ".AA",
        "a claim nested a thousand deep": ".".join(
            [
                minted().split(".")[0],
                base64.urlsafe_b64encode(b'{"deep":' + b"[" * 1400 + b"]" * 1400 + b"}").decode().rstrip("="),
                "AA",
            ]
        ),
        "two parts": "a.b",
        "nothing": "",
        "very long": "a" * 5000,
    }.items(),
)
def test_what_is_not_ours_is_refused(case: str, text: str) -> None:
    """Each is refused with 401 before any key is looked up."""
    with pytest.raises(Unauthorised):
        token.read(text)


@pytest.mark.parametrize(
    ("seconds", "good"), [(0, True), (119, True), (121, False), (-59, True), (-61, False)]
)
def test_a_minute_of_leeway_on_both_ends(seconds: int, good: bool) -> None:
    """A host clock that is off by less than a minute does not lock its agent out."""
    claims = token.read(minted())
    at = datetime.fromtimestamp(NOW.timestamp() + seconds, UTC)
    if good:
        claims.check_time(at)
        return
    with pytest.raises(Unauthorised):
        claims.check_time(at)


@given(
    st.text()
    | st.tuples(st.binary(), st.binary(), st.binary()).map(
        lambda parts: ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    )
)
def test_no_text_does_anything_but_be_refused(text: str) -> None:
    """Whatever stands in the header: Unauthorised, never another exception."""
    with pytest.raises(Unauthorised):
        token.read(text)
