"""The ``databases`` section of the configuration, as rules: what fits together, pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from agent.databases import PORTS, DatabaseRule

_ONLY_MSSQL = ("instance", "tls", "ca_file", "certificate_sha256")


def faults_of(read: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(field, what is wrong) of values that are each good but do not fit together."""
    found = []
    if read["engine"] != "mssql":
        found += [(key, "is for the engine mssql only") for key in _ONLY_MSSQL if key in read]
        if "user" not in read:
            found.append(("user", "is needed (only mssql knows Windows authentication)"))
    if "instance" in read and "port" in read:
        found.append(("instance", "has the port that the SQL Server Browser tells: leave out port"))
    if read.get("tls", "trusted") != "trusted":
        if not is_loopback(read.get("host", "localhost")):
            found.append(("tls", "may be other than trusted for this very host only (localhost)"))
        found += [(key, "says nothing unless tls is trusted") for key in _ONLY_MSSQL[2:] if key in read]
    return found


def rule_of(read: Mapping[str, Any]) -> DatabaseRule:
    """The rule, with its defaults."""
    defaults = {"host": "localhost", "port": PORTS[read["engine"]], "user": "", "database": read["name"]}
    merged = defaults | dict(read)
    return DatabaseRule(**{**merged, "port": int(merged["port"])})


def is_loopback(host: str) -> bool:
    """This machine, by its names for itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() in ("localhost", "localhost.localdomain", "ip6-localhost")
