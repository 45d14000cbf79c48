"""Matchers as the Alertmanager writes them, and the fingerprint of a set of labels. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from alerting import regex
from alerting.mute import Matcher

_FILTER = re.compile(r"\s*([^\s=!~\"{},]+)\s*(=~|!~|!=|=)\s*(.*?)\s*", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_NEWLINE = {"n": "\n"}
_FNV_OFFSET, _FNV_PRIME, _64_BITS = 0xCBF29CE484222325, 0x100000001B3, 2**64 - 1
_SEPARATOR = b"\xff"
MAX_FILTER = 2000
"""Characters of one filter."""


def parse(text: str) -> Matcher:
    """``severity=~"warning|critical"`` as a matcher. Raises ValueError."""
    found = _FILTER.fullmatch(text) if len(text) <= MAX_FILTER else None
    if found is None:
        raise ValueError(f'bad matcher format: {text[:100]}: write it as name="value", with =, !=, =~ or !~')
    name, op, value = found.groups()
    return made(name, _unquoted(value), is_regex="~" in op, is_equal=op.startswith("="))


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    if len(value) < 2 or not value.endswith('"'):
        raise ValueError(f"bad matcher format: the quotation marks of {value[:100]} do not match")
    return _ESCAPE.sub(lambda m: _NEWLINE.get(m[1], m[1]), value[1:-1])


def made(name: str, value: str, *, is_regex: bool, is_equal: bool) -> Matcher:
    """A matcher out of its parts. Raises ValueError for an expression that cannot be read."""
    if is_regex:
        if wrong := regex.fault(value):
            raise ValueError(wrong)
        return Matcher(name, "=~" if is_equal else "!~", value)
    return Matcher(name, "==" if is_equal else "!==", value)


def parts(matcher: Matcher) -> tuple[str, bool, bool]:
    """A matcher's value, whether it is an expression, and whether it must match."""
    is_equal = not matcher.op.startswith("!")
    if "~" in matcher.op:
        return matcher.pattern, True, is_equal
    if matcher.op in ("=", "!=") and "*" in matcher.pattern:
        pieces = [re.escape(piece) for piece in matcher.pattern.split("*")]
        return "(?is)" + ".*".join(pieces), True, is_equal
    return matcher.pattern, False, is_equal


def fingerprint(labels: Mapping[str, str]) -> str:
    """What Prometheus makes of labels: FNV-1a (64 bits) over sorted names and values, as 16 hex digits."""
    return _hashed(b"".join(_bytes(n) + _SEPARATOR + _bytes(labels[n]) + _SEPARATOR for n in sorted(labels)))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "replace")


@lru_cache(maxsize=20_000)
def _hashed(data: bytes) -> str:
    value = _FNV_OFFSET
    for byte in data:
        value = ((value ^ byte) * _FNV_PRIME) & _64_BITS
    return f"{value:016x}"
