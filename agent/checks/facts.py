"""What only the platform itself knows: licences, tokens, the state of its cluster - from a file it writes.

The file (``facts_file`` in the configuration) is JSON, written by the platform or by a scheduled command of
the administrator's, replaced as a whole; docs/agent.md describes it:

    {"licences": [{"product": "channels", "expires": "2027-03-31", "used": 54, "limit": 60}],
     "tokens":   [{"tenant": "contoso", "authorised": true}],
     "cluster":  [{"node": "node-2", "replication": "green"}]}

All members are optional. A file that was not written anew for ``facts_max_age`` seconds says nothing any
more: its series have no values, and the check fails with that reason.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from agent.reading import Column, Reading
from agent.sharedfile import open_shared

_MAX_BYTES = 262_144
_STATES = {"green": 0.0, "yellow": 1.0, "red": 2.0}
_Name = Annotated[str, Meta(min_length=1, max_length=200)]


class Licence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One licensed product; valid to the end of ``expires`` (UTC)."""

    product: _Name
    expires: date | None = None
    used: Annotated[float, Meta(ge=0)] | None = None
    limit: Annotated[float, Meta(gt=0)] | None = None


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One cloud telephony tenant."""

    tenant: _Name
    authorised: bool


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node as this host sees it."""

    node: _Name
    replication: Literal["green", "yellow", "red"]


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file."""

    licences: Annotated[tuple[Licence, ...], Meta(max_length=32)] = ()
    tokens: Annotated[tuple[Token, ...], Meta(max_length=16)] = ()
    cluster: Annotated[tuple[Node, ...], Meta(max_length=16)] = ()


class FactsCheck:
    name: ClassVar[str] = "facts"
    interval_s: ClassVar[float] = 60.0

    def __init__(self, path: Path | None, max_age_s: float, now_s: Callable[[], float]) -> None:
        self._path = path
        self._max_age_s = max_age_s
        self._now_s = now_s

    def read(self, now_s: float) -> Reading:
        if self._path is None:
            return Reading((), ())
        facts = load(self._path, self._now_s(), self._max_age_s)
        found = dict(series(facts, self._now_s()))
        return Reading(tuple(found), list(found.values()))


def load(path: Path, now_s: float, max_age_s: float) -> Facts:
    """The file's content; raises OSError when it is not there, too old, or not as described."""
    with open_shared(path) as file:
        age_s = now_s - path.stat().st_mtime
        body = file.read(_MAX_BYTES + 1)
    if age_s > max_age_s:
        raise OSError(f"{path} was written {age_s:.0f} s ago; nobody writes it any more")
    try:
        return msgspec.json.decode(body, type=Facts)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise OSError(f"{path}: {fault}") from None


def series(facts: Facts, now_s: float) -> list[tuple[Column, float | None]]:
    """Pure: what the facts mean now (seconds since 1970)."""
    found: list[tuple[Column, float | None]] = []
    for licence in facts.licences:
        named = (("ucx.licence.product", licence.product),)
        if licence.expires is not None:
            end = datetime.combine(licence.expires, time.max, UTC)
            found.append((Column("ucx.licence.remaining", named), end.timestamp() - now_s))
        if licence.limit is not None:
            used = None if licence.used is None else licence.used / licence.limit
            found.append((Column("ucx.licence.utilization", named), used))
    for token in facts.tokens:
        named = (("ucx.telephony.tenant", token.tenant),)
        found.append((Column("ucx.telephony.token.authorised", named), float(token.authorised)))
    for node in facts.cluster:
        named = (("ucx.cluster.node", node.node),)
        found.append((Column("ucx.cluster.replication.state", named), _STATES[node.replication]))
    return found
