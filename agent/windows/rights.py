"""Who may touch the agent's files on Windows: pure.

The service runs as the virtual account ``NT SERVICE\\UCXAgent``. It has no password, may log on nowhere, and
its SID follows from the service's name alone, so access can be granted to it before the service exists, and
nothing of it is left when the service is gone.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

SERVICE = "UCXAgent"
SYSTEM = "S-1-5-18"
ADMINISTRATORS = "S-1-5-32-544"
PERFORMANCE_MONITOR_USERS = "S-1-5-32-558"
"""May read performance counters."""
TRUSTED_INSTALLER = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"

_ALLOW = 0
_MODIFY = "0x1301bf"
_INHERIT_ONLY = 0x08


class Ace(NamedTuple):
    """One entry of a file's access list."""

    kind: int
    """0 = allows; everything else takes away or only records."""
    flags: int
    mask: int
    sid: str


def service_sid(name: str) -> str:
    """The SID that Windows gives to a service: SHA-1 of its upper-case name, as five numbers of 32 bits."""
    digest = hashlib.sha1(name.upper().encode("utf-16-le"), usedforsecurity=False).digest()
    return "S-1-5-80-" + "-".join(map(str, struct.unpack("<5I", digest)))


def allowed(extra: Iterable[str] = ()) -> tuple[str, ...]:
    """SIDs that may read what is private, each once: system, administrators, the service, and ``extra``."""
    return tuple(dict.fromkeys((SYSTEM, ADMINISTRATORS, service_sid(SERVICE), *extra)))


def directory_sddl(sids: Sequence[str]) -> str:
    """A descriptor for the state directory: nothing inherited from above, all of it handed down."""
    return "O:BAD:P" + "".join(f"(A;OICI;{_rights(sid)};;;{sid})" for sid in sids)


def file_sddl(sids: Sequence[str]) -> str:
    """A descriptor for a private file."""
    return "D:P" + "".join(f"(A;;{_rights(sid)};;;{sid})" for sid in sids)


def _rights(sid: str) -> str:
    """The service may read, write and delete, but not change who may."""
    return _MODIFY if sid == service_sid(SERVICE) else "FA"


def strangers(aces: Sequence[Ace] | None, friends: Collection[str]) -> tuple[str, ...]:
    """SIDs beside the friends that an access list lets in; no list at all lets everybody in."""
    if aces is None:
        return ("S-1-1-0",)
    open_to = (a.sid for a in aces if a.kind == _ALLOW and a.mask and not a.flags & _INHERIT_ONLY)
    return tuple(dict.fromkeys(sid for sid in open_to if sid not in friends))


def may_own(sid: str, extra: Iterable[str] = ()) -> bool:
    """Whether a directory of this owner may become ours. Every user may make a directory below ProgramData:
    one that was laid there beforehand would give its owner the key."""
    return sid in (*allowed(extra), TRUSTED_INSTALLER)
