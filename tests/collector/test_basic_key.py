"""An API key as the password of Basic credentials."""

from __future__ import annotations

import base64

import pytest

from collector.directory import API_KEY_PREFIX, bearer_of
from wire.problem import Unauthorised

KEY = API_KEY_PREFIX + "x" * 43


def basic(credentials: bytes) -> str:
    return "Basic " + base64.b64encode(credentials).decode()


def test_a_key_may_stand_as_the_password() -> None:
    """Whatever the user's name: programs that know only Basic get in."""
    assert bearer_of(basic(f"amtool:{KEY}".encode())) == KEY
    assert bearer_of(basic(f":{KEY}".encode())) == KEY


def test_other_basic_credentials_are_none() -> None:
    """A password that is no key, bytes that are no text, no Base64."""
    for wrong in (basic(b"ada:secret"), basic(b"\xff\xfe:x"), basic(KEY.encode()), "Basic ???", "Basic"):
        with pytest.raises(Unauthorised):
            bearer_of(wrong)
