"""The part of the configuration that names what to watch beside the host itself.

    services: [MSSQLSERVER, {name: W3SVC, class: web}]     # units, services, or patterns: "ucx*"
    probes: [{name: portal, url: "https://localhost/", expect: Sign in, status: [200], ca_file: /etc/ca.pem}]
    certificates: [{name: recording, file: /etc/ucx/recording.pem}]
    storage: [{name: archive, path: /mnt/archive, write: true, mounted: true}]
    iis_logs: /srv/LogFiles                        # of IIS, when not in inetpub/logs/LogFiles (D:/LogFiles)
    facts_file: /var/lib/ucx/facts.json            # what only the platform knows: agent/checks/facts.py
    facts_max_age: 900                             # seconds after which that file says nothing any more
    databases:
      - {name: ucx, engine: postgresql, host: localhost, user: ucx_agent, password_file: /etc/pw}
      - {name: calls, engine: mssql, instance: SQLEXPRESS, tls: unverified, user: ucx, password_file: /etc/pw}
    cluster: [{name: node-2, host: node-2.example.com}]   # whose clocks to compare, by NTP
    events:
      per_minute: 60                               # of each log; what is held back is counted and told
      journal: {units: ["ucx*"], identifiers: [], priority: warning}
      files:
        - name: ucx-platform
          path: /var/log/ucx/platform.log
          encoding: utf-8
          start: '^[0-9]{4}-'                      # how the first line of a record begins
          rules: [{match: no free channel, id: licence.overcome, severity: error}]
      windows: [{channel: System, ids: [41, 7031], levels: [1, 2], providers: []}]

All of it is optional; each section is a list, in which a name stands once.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import yaml

from agent.checks.peers import PeerRule
from agent.checks.probe import CertificateRule, ProbeRule
from agent.checks.service import CLASSES, ServiceRule
from agent.checks.storage import StorageRule
from agent.databases import ENGINES, TLS, DatabaseRule
from agent.databases.rules import faults_of, rule_of
from agent.events.journal import JournalConfig, is_priority
from agent.events.logfile import LineRule, LogFile
from agent.events.winlog import Channel
from wire.batch import Severity

_MOST = 30
_SERVICE = re.compile(r"[\w@.:\\$ *?-]{1,200}")
_SHA256 = re.compile(r"[0-9A-Fa-f]{64}")
_INSTANCE = re.compile(r"[A-Za-z_#][\w$#]{0,15}")
_PLAIN = re.compile(r"[\w .$/*-]{1,200}")

Read = Callable[[yaml.Node, str], Any]


class Reader(Protocol):
    """What the configuration's reader offers (agent/config.py)."""

    def fault(self, node: yaml.Node, field: str, message: str) -> None: ...
    def text(self, node: yaml.Node, field: str, longest: int = 500) -> str | None: ...
    def texts(self, node: yaml.Node, field: str) -> tuple[str, ...]: ...
    def number(self, node: yaml.Node, field: str, least: float, most: float) -> float | None: ...
    def sequence(self, node: yaml.Node, field: str, most: int) -> list[yaml.Node]: ...
    def mapping(
        self, node: yaml.Node, field: str, known: Mapping[str, Read], needed: Sequence[str] = ()
    ) -> dict[str, Any] | None: ...


# ---- values -------------------------------------------------------------------------------------------


def absolute(reader: Reader) -> Read:
    """An absolute path."""

    def read(node: yaml.Node, field: str) -> Path | None:
        text = reader.text(node, field, 4096)
        if text is not None and not Path(text).is_absolute():
            reader.fault(node, field, "must be an absolute path")
            return None
        return Path(text) if text else None

    return read


def one_of(reader: Reader, allowed: Sequence[str]) -> Read:
    """One of a few words."""

    def read(node: yaml.Node, field: str) -> str | None:
        text = reader.text(node, field)
        if text is not None and text not in allowed:
            reader.fault(node, field, f"must be one of {', '.join(allowed)}")
            return None
        return text

    return read


def matching(reader: Reader, pattern: re.Pattern[str], wanted: str) -> Read:
    """Text of a form."""

    def read(node: yaml.Node, field: str) -> str | None:
        text = reader.text(node, field)
        if text is not None and not pattern.fullmatch(text):
            reader.fault(node, field, f"must be {wanted}")
            return None
        return text

    return read


def expression(reader: Reader) -> Read:
    """A regular expression."""

    def read(node: yaml.Node, field: str) -> re.Pattern[str] | None:
        text = reader.text(node, field)
        try:
            return None if text is None else re.compile(text)
        except (re.error, OverflowError, RecursionError) as fault:
            reader.fault(node, field, f"is no regular expression: {fault}")
            return None

    return read


def flag(reader: Reader) -> Read:
    """true or false."""

    def read(node: yaml.Node, field: str) -> bool | None:
        if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:bool":
            return node.value.lower() in ("true", "yes", "on")
        reader.fault(node, field, "must be true or false")
        return None

    return read


def numbers(reader: Reader, least: int, most: int) -> Read:
    """A list of whole numbers."""

    def read(node: yaml.Node, field: str) -> tuple[int, ...]:
        nodes = enumerate(reader.sequence(node, field, _MOST))
        found = [reader.number(entry, f"{field}[{index}]", least, most) for index, entry in nodes]
        return tuple(int(number) for number in found if number is not None)

    return read


def number(reader: Reader, least: float, most: float) -> Read:
    """A number."""
    return lambda node, field: reader.number(node, field, least, most)


def encoding(reader: Reader) -> Read:
    """Of a log file; its newline must be a fixed byte pattern."""

    def read(node: yaml.Node, field: str) -> str | None:
        text = reader.text(node, field)
        try:
            name = codecs.lookup(text).name if text else None
            return name if name is None or "\n".encode(name) else None
        except (LookupError, UnicodeError):
            reader.fault(node, field, "is no encoding; common are utf-8, utf-16-le, cp1252")
            return None

    return read


def _url(reader: Reader) -> Read:
    def read(node: yaml.Node, field: str) -> str | None:
        text = reader.text(node, field)
        try:
            parts = urlsplit(text or "http://x")
            good = parts.scheme in ("http", "https") and parts.hostname and not parts.username
            _ = parts.port
        except ValueError:
            good = False
        if not good:
            reader.fault(node, field, "must look like https://host/path, without a user name")
            return None
        return text

    return read


def _listed(reader: Reader, node: yaml.Node, field: str, one: Read) -> tuple[Any, ...]:
    """Entries with distinct names."""
    found: dict[str, Any] = {}
    for index, entry in enumerate(reader.sequence(node, field, _MOST)):
        read = one(entry, f"{field}[{index}]")
        if read is None:
            continue
        if read.name in found:
            reader.fault(entry, f"{field}[{index}]", f"the name '{read.name}' stands there twice")
        found[read.name] = read
    return tuple(found.values())


# ---- sections -----------------------------------------------------------------------------------------


def services(reader: Reader, node: yaml.Node, field: str) -> dict[str, Any]:
    """``services``."""
    name = matching(reader, _SERVICE, "a service's name")

    def one(entry: yaml.Node, where: str) -> ServiceRule | None:
        if isinstance(entry, yaml.ScalarNode):
            text = name(entry, where)
            return ServiceRule(text) if text else None
        known = {"name": name, "class": one_of(reader, CLASSES)}
        read = reader.mapping(entry, where, known, ("name",))
        return None if read is None else ServiceRule(read["name"], read.get("class", "other"))

    return {"services": _listed(reader, node, field, one)}


def probes(reader: Reader, node: yaml.Node, field: str) -> dict[str, Any]:
    """``probes``."""
    known = {
        "name": reader.text,
        "url": _url(reader),
        "expect": reader.text,
        "status": numbers(reader, 100, 599),
        "ca_file": absolute(reader),
    }

    def one(entry: yaml.Node, where: str) -> ProbeRule | None:
        read = reader.mapping(entry, where, known, ("name", "url"))
        return None if read is None else ProbeRule(**read)

    return {"probes": _listed(reader, node, field, one)}


def certificates(reader: Reader, node: yaml.Node, field: str) -> dict[str, Any]:
    """``certificates``."""
    known = {"name": reader.text, "file": absolute(reader)}

    def one(entry: yaml.Node, where: str) -> CertificateRule | None:
        read = reader.mapping(entry, where, known, ("name", "file"))
        return None if read is None else CertificateRule(**read)

    return {"certificates": _listed(reader, node, field, one)}


def storage(reader: Reader, node: yaml.Node, field: str) -> dict[str, Any]:
    """``storage``."""
    known = {
        "name": reader.text,
        "path": absolute(reader),
        "write": flag(reader),
        "mounted": flag(reader),
    }

    def one(entry: yaml.Node, where: str) -> StorageRule | None:
        read = reader.mapping(entry, where, known, ("name", "path"))
        return None if read is None else StorageRule(**read)

    return {"storage": _listed(reader, node, field, one)}


def databases(reader: Reader, node: yaml.Node, field: str) -> dict[str, Any]:
    """``databases``."""
    known = {
        "name": reader.text,
        "engine": one_of(reader, ENGINES),
        "host": reader.text,
        "port": number(reader, 1, 65_535),
        "instance": matching(reader, _INSTANCE, "an instance's name, as in HOST\\NAME the part NAME"),
        "user": reader.text,
        "database": reader.text,
        "password_file": absolute(reader),
        "tls": one_of(reader, TLS),
        "ca_file": absolute(reader),
        "certificate_sha256": matching(reader, _SHA256, "64 hexadecimal digits"),
    }

    def one(entry: yaml.Node, where: str) -> DatabaseRule | None:
        read = reader.mapping(entry, where, known, ("name", "engine"))
        if read is None:
            return None
        faults = faults_of(read)
        for key, message in faults:
            reader.fault(entry, f"{where}.{key}", message)
        return None if faults else rule_of(read)

    return {"databases": _listed(reader, node, field, one)}


def cluster(reader: Reader, node: yaml.Node, field: str) -> dict[str, Any]:
    """``cluster``."""
    known = {"name": reader.text, "host": reader.text, "port": number(reader, 1, 65_535)}

    def one(entry: yaml.Node, where: str) -> PeerRule | None:
        read = reader.mapping(entry, where, known, ("name", "host"))
        return None if read is None else PeerRule(read["name"], read["host"], int(read.get("port", 123)))

    return {"cluster": _listed(reader, node, field, one)}


def events(reader: Reader, node: yaml.Node, field: str) -> dict[str, Any]:
    """``events``."""
    known: dict[str, Read] = {
        "per_minute": number(reader, 1, 10_000),
        "journal": lambda entry, where: _journal(reader, entry, where),
        "files": lambda entry, where: _listed(reader, entry, where, lambda n, w: _file(reader, n, w)),
        "windows": lambda entry, where: _listed(reader, entry, where, lambda n, w: _channel(reader, n, w)),
    }
    read = reader.mapping(node, field, known) or {}
    names = {
        "per_minute": "events_per_minute",
        "journal": "journal",
        "files": "log_files",
        "windows": "channels",
    }
    return {names[name]: value for name, value in read.items()}


def _journal(reader: Reader, node: yaml.Node, field: str) -> JournalConfig | None:
    known: dict[str, Read] = {
        "units": reader.texts,
        "identifiers": reader.texts,
        "priority": reader.text,
        "directory": absolute(reader),
    }
    read = reader.mapping(node, field, known)
    if read is not None and not is_priority(read.get("priority", "warning")):
        reader.fault(
            node, f"{field}.priority", "must be emerg, alert, crit, err, warning, notice, info or debug"
        )
        return None
    return None if read is None else JournalConfig(**read)


def _file(reader: Reader, node: yaml.Node, field: str) -> LogFile | None:
    rule = {
        "match": expression(reader),
        "id": reader.text,
        "severity": one_of(reader, [severity.value for severity in Severity]),
    }

    def rules(entry: yaml.Node, where: str) -> tuple[LineRule, ...]:
        nodes = enumerate(reader.sequence(entry, where, _MOST))
        read = [reader.mapping(one, f"{where}[{index}]", rule, tuple(rule)) for index, one in nodes]
        return tuple(LineRule(r["match"], r["id"], Severity(r["severity"])) for r in read if r is not None)

    known = {
        "name": matching(reader, _PLAIN, "plain text"),
        "path": absolute(reader),
        "encoding": encoding(reader),
        "start": expression(reader),
        "rules": rules,
    }
    read = reader.mapping(node, field, known, ("name", "path", "rules"))
    return None if read is None else LogFile(**read)


def _channel(reader: Reader, node: yaml.Node, field: str) -> Channel | None:
    known: dict[str, Read] = {
        "channel": matching(reader, _PLAIN, "a channel's name"),
        "ids": numbers(reader, 0, 65_535),
        "levels": numbers(reader, 1, 5),
        "providers": lambda entry, where: tuple(
            name for name in reader.texts(entry, where) if _is_provider(reader, entry, where, name)
        ),
    }
    read = reader.mapping(node, field, known, ("channel",))
    return None if read is None else Channel(read.pop("channel"), **read)


def _is_provider(reader: Reader, node: yaml.Node, field: str, name: str) -> bool:
    """It stands in a query between quotes."""
    if _PLAIN.fullmatch(name):
        return True
    reader.fault(node, field, f"'{name[:80]}' is no provider's name")
    return False
