"""What a collector's address may look like.

Apart from ``agent.transport``, so that reading a configuration does not load an HTTP client.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

_MAX_HOST = 253


def fault_of_url(url: str, *, insecure_http: bool = False) -> str | None:
    """What is wrong with a collector's URL; None when it is good."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as fault:
        return f"is not a URL: {fault}"
    if parts.scheme not in ("http", "https") or not host or len(host) > _MAX_HOST:
        return "must look like https://collector.example.com"
    if parts.username or parts.query or parts.fragment:
        return "must not hold a user name, query or fragment"
    if parts.scheme == "http" and not insecure_http and not is_loopback(host):
        return "must be https (plain http is only for loopback addresses, or with --insecure-http)"
    return None


def is_loopback(host: str) -> bool:
    """True for localhost and loopback addresses; other names may resolve to anything."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
