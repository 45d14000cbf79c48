"""Which proxy stands between this host and its collector: the configured one, the system's, or none.

``proxy: http://proxy.example.com:3128`` in the configuration names one, ``proxy: none`` means a direct line;
without it the environment decides (HTTPS_PROXY, HTTP_PROXY, NO_PROXY), on Windows also the system's own
setting. A loopback collector is never asked for through a proxy. https goes through it by CONNECT, so that
the proxy sees a host name and nothing else.
"""

from __future__ import annotations

import os
import sys
from base64 import b64encode
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from agent.address import is_loopback

DIRECT = "none"
"""The word for "no proxy, whatever the system says"."""


class Proxy(NamedTuple):
    """An http proxy."""

    host: str
    port: int
    authorization: str = ""
    """Value of Proxy-Authorization (basic), from the address; empty = none."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def fault_of_proxy(text: str) -> str | None:
    """What is wrong with a proxy's address; None when it is good."""
    if text == DIRECT:
        return None
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError as fault:
        return f"is not a URL: {fault}"
    if parts.scheme != "http" or not host or parts.path not in ("", "/") or parts.query or parts.fragment:
        return f"must look like http://proxy.example.com:3128, or be '{DIRECT}'"
    return None


def parse(text: str) -> Proxy:
    """A proxy's address that ``fault_of_proxy`` found good."""
    parts = urlsplit(text)
    credentials = ""
    if parts.username:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        credentials = "Basic " + b64encode(pair.encode()).decode()
    return Proxy(parts.hostname or "", parts.port or 80, credentials)


def choose(url: str, configured: str | None) -> Proxy | None:
    """The proxy for a collector's URL; None = a direct line. The system's setting, when it is of no kind that
    we speak (socks, a script), counts as none: `doctor` then shows that the direct line fails."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if configured == DIRECT or (is_loopback(host) and configured is None):
        return None
    text = configured or _of_system(parts.scheme, f"{host}:{parts.port}" if parts.port else host)
    return parse(text) if text and fault_of_proxy(text) is None else None


def _of_system(scheme: str, host: str) -> str | None:
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY")
    if sys.platform != "win32" and not any(os.environ.get(name) for name in names):
        return None
    from urllib.request import getproxies, proxy_bypass  # only here: it is large

    found = getproxies()
    text = found.get(scheme) or found.get("all")
    if text is None or proxy_bypass(host):
        return None
    return text if "://" in text else f"http://{text}"
