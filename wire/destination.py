"""Where what strangers name may be sent: to the public internet, and to the very address that was judged.

A webhook's host is resolved by us, every address of it is judged, and the connection is to be made to the
judged address itself, so that a name cannot point elsewhere a moment later. Whoever posts follows no
redirects.

DestinationError
|- Unfit        nothing is ever sent there
`- Unresolved   its host has no address now
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""All addresses of a host and port. Raises OSError."""
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_INNER = (
    ipaddress.IPv6Network("::/96"),  # IPv4-compatible: an IPv4 address in its last 32 bits
    ipaddress.IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated, likewise
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # a network's own translation to IPv4
    ipaddress.IPv6Network("fec0::/10"),  # site-local, as it was
)
"""Not for the public, whatever Python's own table says of them."""


class DestinationError(Exception):
    """Nothing can be sent there; the message says why."""


class Unfit(DestinationError):
    """No use in trying again."""


class Unresolved(DestinationError):
    """Try again."""


class Destination(NamedTuple):
    """What a request is sent to."""

    url: str
    """With the judged address in the host's place."""
    host: str
    """The header ``Host``, as the receiver expects it."""
    name: str
    """Whom the receiver's certificate must name."""


async def resolve(host: str, port: int) -> list[str]:
    """As the system resolves it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


async def judged(url: str, *, private: bool, resolver: Resolve = resolve) -> Destination:
    """Where ``url`` leads; ``private``: inner addresses and plain HTTP will do. Raises DestinationError."""
    parts = _parts(url, private=private)
    name, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        addresses = await resolver(name, port)
    except (OSError, UnicodeError) as error:
        raise Unresolved(f"{name} cannot be resolved: {error}") from error
    if not addresses:
        raise Unresolved(f"{name} has no address")
    if not private and not all(public(address) for address in addresses):
        raise Unfit(f"{name} is not on the public internet")
    netloc = f"[{addresses[0]}]:{port}" if ":" in addresses[0] else f"{addresses[0]}:{port}"
    target = parts._replace(netloc=netloc, fragment="").geturl()
    return Destination(target, parts.netloc.rpartition("@")[2], name)


def _parts(url: str, *, private: bool) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise Unfit(f"the URL cannot be used: {error}") from None
    if not parts.hostname or parts.scheme not in (("https", "http") if private else ("https",)):
        raise Unfit("webhooks need an https URL with a host")
    return parts


def public(address: str) -> bool:
    """Whether an address is on the public internet, also where IPv6 forms hide one of IPv4.

    In a network of IPv6 alone its translator (NAT64) reaches every IPv4 address, those of ours too."""
    found = ipaddress.ip_address(address.partition("%")[0])
    return all(one.is_global and not one.is_multicast for one in (found, *_hidden(found))) and not _inner(
        found
    )


def _hidden(found: Address) -> list[Address]:
    """The IPv4 addresses that an IPv6 one stands for."""
    if not isinstance(found, ipaddress.IPv6Address):
        return []
    translated = ipaddress.IPv4Address(int(found) & 0xFFFF_FFFF) if found in _NAT64 else None
    return [one for one in (found.ipv4_mapped, found.sixtofour, translated) if one is not None]


def _inner(found: Address) -> bool:
    return isinstance(found, ipaddress.IPv6Address) and any(found in network for network in _INNER)
