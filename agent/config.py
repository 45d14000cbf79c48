"""The agent's configuration: a small YAML file, read strictly, all faults told at once.

    collector_url: https://collector.example.com   # default: what enrolment said
    ca_file: /etc/ucx-agent/ca.pem                 # trust only these roots
    proxy: http://proxy.example.com:3128           # or none; default: the system's
    processes: [sqlservr, {name: portal, match: "w3wp*", arguments: "*portal*"}]
    intervals: {cpu: 15, volume: 60}               # seconds, per check
    disable: [network]                             # checks that are not wanted
    volumes: {include: [/mnt/recordings], exclude: ["/boot*"]}
    disks: {exclude: ["sr*"]}
    interfaces: {exclude: ["wlan*"]}
    ship_every: 60                                 # seconds that readings wait for company
    spool: {max_mb: 128, max_days: 7}
    max_backoff: 300                               # seconds, longest pause between two tries
    key_days: 90                                   # the agent replaces its key this often; 0 = never
    log_level: info

What else is watched - services, endpoints, databases, logs - stands in agent/watchlist.py.
A file that is not there means the defaults; a faulty one is refused as a whole (``ConfigError``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from agent import watchlist
from agent.address import fault_of_url
from agent.checks.peers import PeerRule
from agent.checks.probe import CertificateRule, ProbeRule
from agent.checks.process import ProcessRule
from agent.checks.service import ServiceRule
from agent.checks.storage import StorageRule
from agent.databases import DatabaseRule
from agent.events.journal import JournalConfig
from agent.events.logfile import LogFile
from agent.events.winlog import Channel
from agent.proxy import fault_of_proxy
from wire.document import UnreadableDocument, compose
from wire.limits import SPOOL_HORIZON_DAYS

CHECKS = (
    *("cpu", "memory", "volume", "disk", "network", "process", "host", "agent", "top"),
    *("service", "iis", "probe", "storage", "facts", "database", "events", "peers"),
)
_MAX_FILE_BYTES = 1_048_576
_MAX_PROCESSES = 30
_MAX_PATTERNS = 64


class Fault(NamedTuple):
    """One thing that is wrong."""

    file: str
    line: int
    """1-based."""
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.message}"


class ConfigError(Exception):
    """The file is refused; ``faults`` holds all that is wrong with it."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class Config(msgspec.Struct, frozen=True):
    """What an administrator can choose. Times in seconds."""

    collector_url: str | None = None
    ca_file: Path | None = None
    proxy: str | None = None
    processes: tuple[ProcessRule, ...] = ()
    intervals: dict[str, float] = {}
    """Per check; the others keep their own default."""
    disable: tuple[str, ...] = ()
    volumes_include: tuple[str, ...] = ()
    volumes_exclude: tuple[str, ...] = ()
    disks_exclude: tuple[str, ...] = ()
    interfaces_exclude: tuple[str, ...] = ()
    ship_every: float = 60.0
    spool_mb: float = 128.0
    spool_days: float = float(SPOOL_HORIZON_DAYS)
    max_backoff: float = 300.0
    key_days: float = 90.0
    log_level: str = "info"
    services: tuple[ServiceRule, ...] = ()
    probes: tuple[ProbeRule, ...] = ()
    certificates: tuple[CertificateRule, ...] = ()
    storage: tuple[StorageRule, ...] = ()
    iis_logs: Path | None = None
    """Folder of the sites' logs; None = where IIS writes them by default."""
    facts_file: Path | None = None
    facts_max_age: float = 900.0
    databases: tuple[DatabaseRule, ...] = ()
    cluster: tuple[PeerRule, ...] = ()
    events_per_minute: float = 60.0
    journal: JournalConfig | None = None
    log_files: tuple[LogFile, ...] = ()
    channels: tuple[Channel, ...] | None = None
    """Of the Windows Event Log; None = those of the default rules."""


def load_config(path: Path, *, required: bool = False) -> Config:
    """The configuration in a file; raises ConfigError. A missing file is empty, unless ``required``."""
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        if required:
            raise ConfigError([Fault(str(path), 1, "file", "does not exist")]) from None
        return Config()
    except OSError as fault:
        raise ConfigError([Fault(str(path), 1, "file", f"cannot be read: {fault.strerror}")]) from None
    if len(text) > _MAX_FILE_BYTES:
        raise ConfigError([Fault(str(path), 1, "file", "is larger than 1 MB")])
    return parse_config(text, str(path))


def parse_config(text: bytes, file: str) -> Config:
    """The configuration in a text; raises ConfigError with every fault in it."""
    reader = _Reader(file)
    try:
        root = compose(text.decode("utf-8"), most_bytes=_MAX_FILE_BYTES)
    except UnicodeDecodeError as fault:
        line = text[: fault.start].count(b"\n") + 1
        raise ConfigError([Fault(file, line, "file", "is not UTF-8")]) from None
    except UnreadableDocument as fault:
        raise ConfigError([Fault(file, fault.line or 1, "file", str(fault))]) from None
    values = reader.root(root) if root is not None else {}
    if reader.faults:
        raise ConfigError(sorted(reader.faults, key=lambda fault: fault.line))
    return Config(**values)


class _Reader:
    """Walks the YAML nodes, so that each fault knows its line; collects faults instead of raising."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.faults: list[Fault] = []

    def fault(self, node: yaml.Node, field: str, message: str) -> None:
        self.faults.append(Fault(self._file, node.start_mark.line + 1, field, message))

    # ---- the document

    def root(self, node: yaml.Node) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, name, value in self._entries(node, "file"):
            read = _FIELDS.get(name)
            if read is None:
                self.fault(key, name, f"is not known; known are {', '.join(sorted(_FIELDS))}")
            else:
                values |= read(self, value, name)
        return {name: value for name, value in values.items() if value is not None}

    def _entries(self, node: yaml.Node, field: str) -> list[tuple[yaml.Node, str, yaml.Node]]:
        """(key node, key, value node) of a mapping; keys that are no text or stand twice are faults."""
        if not isinstance(node, yaml.MappingNode):
            self.fault(node, field, "must be a mapping of names to values")
            return []
        found: dict[str, tuple[yaml.Node, str, yaml.Node]] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.fault(key, field, "a name must be plain text")
            elif key.value in found:
                self.fault(
                    key, f"{field}.{key.value}" if field != "file" else key.value, "stands there twice"
                )
            else:
                found[key.value] = (key, key.value, value)
        return list(found.values())

    def mapping(
        self, node: yaml.Node, field: str, known: Mapping[str, watchlist.Read], needed: Sequence[str] = ()
    ) -> dict[str, Any] | None:
        """The values of a mapping by name; None when one that is needed is missing or faulty."""
        read: dict[str, Any] = {}
        for key, name, value in self._entries(node, field):
            if name in known:
                read[name] = known[name](value, f"{field}.{name}")
            else:
                self.fault(key, f"{field}.{name}", f"is not known; known are {', '.join(known)}")
        for name in needed:
            if name not in read and isinstance(node, yaml.MappingNode):
                self.fault(node, field, f"needs '{name}'")
        good = {name: value for name, value in read.items() if value is not None}
        return good if all(name in good for name in needed) else None

    # ---- scalars

    def text(self, node: yaml.Node, field: str, longest: int = 500) -> str | None:
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:str":
            self.fault(node, field, "must be text (put it in quotes)")
        elif not node.value or len(node.value) > longest or "\0" in node.value:
            self.fault(node, field, f"must have 1 to {longest} characters")
        else:
            return str(node.value)
        return None

    def number(self, node: yaml.Node, field: str, least: float, most: float) -> float | None:
        try:
            assert isinstance(node, yaml.ScalarNode)
            assert node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
            value = float(node.value.replace("_", ""))
        except (AssertionError, ValueError):
            self.fault(node, field, "must be a number")
            return None
        if not least <= value <= most:
            self.fault(node, field, f"must be between {least:g} and {most:g}")
            return None
        return value

    def sequence(self, node: yaml.Node, field: str, most: int) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            self.fault(node, field, "must be a list: [a, b]")
            return []
        if len(node.value) > most:
            self.fault(node, field, f"has {len(node.value)} entries; at most {most} are allowed")
            return []
        return list(node.value)

    def texts(self, node: yaml.Node, field: str) -> tuple[str, ...]:
        entries = enumerate(self.sequence(node, field, _MAX_PATTERNS))
        read = [self.text(entry, f"{field}[{index}]") for index, entry in entries]
        return tuple(text for text in read if text is not None)

    # ---- fields

    def url(self, node: yaml.Node, field: str) -> dict[str, Any]:
        text = self.text(node, field)
        # Whether plain http is allowed is decided where the flag is known; here it only must be a URL.
        wrong = fault_of_url(text, insecure_http=True) if text else None
        if wrong:
            self.fault(node, field, wrong)
        return {"collector_url": text}

    def proxy(self, node: yaml.Node, field: str) -> dict[str, Any]:
        text = self.text(node, field)
        if wrong := fault_of_proxy(text) if text else None:
            self.fault(node, field, wrong)
        return {field: text}

    def path(self, node: yaml.Node, field: str) -> dict[str, Any]:
        text = self.text(node, field, 4096)
        if text is not None and not Path(text).is_absolute():
            self.fault(node, field, "must be an absolute path")
        return {field: Path(text) if text else None}

    def intervals(self, node: yaml.Node, field: str) -> dict[str, Any]:
        read = {}
        for key, name, value in self._entries(node, field):
            if name not in CHECKS:
                self.fault(key, f"{field}.{name}", f"is no check; checks are {', '.join(CHECKS)}")
                continue
            read[name] = self.number(value, f"{field}.{name}", 1, 3600)
        return {"intervals": {name: number for name, number in read.items() if number is not None}}

    def disable(self, node: yaml.Node, field: str) -> dict[str, Any]:
        names = self.texts(node, field)
        for name in names:
            if name not in CHECKS:
                self.fault(node, field, f"'{name}' is no check; checks are {', '.join(CHECKS)}")
        return {"disable": names}

    def lists(self, node: yaml.Node, field: str, allowed: tuple[str, ...]) -> dict[str, Any]:
        read = {}
        for key, name, value in self._entries(node, field):
            if name in allowed:
                read[f"{field}_{name}"] = self.texts(value, f"{field}.{name}")
            else:
                self.fault(key, f"{field}.{name}", f"is not known; known are {', '.join(allowed)}")
        return read

    def spool(self, node: yaml.Node, field: str) -> dict[str, Any]:
        read: dict[str, Any] = {}
        for key, name, value in self._entries(node, field):
            if name == "max_mb":
                read["spool_mb"] = self.number(value, f"{field}.{name}", 1, 100_000)
            elif name == "max_days":
                read["spool_days"] = self.number(value, f"{field}.{name}", 0.01, SPOOL_HORIZON_DAYS)
            else:
                self.fault(key, f"{field}.{name}", "is not known; known are max_mb, max_days")
        return read

    def log_level(self, node: yaml.Node, field: str) -> dict[str, Any]:
        text = self.text(node, field)
        if text is not None and text not in ("debug", "info", "warning", "error"):
            self.fault(node, field, "must be debug, info, warning or error")
        return {field: text}

    # ---- processes

    def processes(self, node: yaml.Node, field: str) -> dict[str, Any]:
        rules: dict[str, ProcessRule] = {}
        for index, entry in enumerate(self.sequence(node, field, _MAX_PROCESSES)):
            rule = self._process(entry, f"{field}[{index}]")
            if rule is None:
                continue
            if rule.name in rules:
                self.fault(entry, f"{field}[{index}]", f"the name '{rule.name}' stands there twice")
            rules[rule.name] = rule
        return {"processes": tuple(rules.values())}

    def _process(self, node: yaml.Node, field: str) -> ProcessRule | None:
        if not isinstance(node, yaml.MappingNode):
            name = self.text(node, field)
            return None if name is None else ProcessRule(name, executable_pattern(name))
        read = {}
        for key, name, value in self._entries(node, field):
            if name not in ("name", "match", "arguments"):
                self.fault(key, f"{field}.{name}", "is not known; known are name, match, arguments")
                continue
            read[name] = self.text(value, f"{field}.{name}")
        if "name" not in read:
            self.fault(node, field, "needs a name")
        name_, match = read.get("name"), read.get("match") or read.get("name")
        if name_ is None or match is None:
            return None
        return ProcessRule(name_, executable_pattern(match), read.get("arguments") or "")


def executable_pattern(text: str) -> str:
    """A glob as the process check compares it: lower case, without ``.exe``."""
    return text.lower().removesuffix(".exe")


def _seconds(least: float, most: float) -> Callable[[_Reader, yaml.Node, str], dict[str, Any]]:
    return lambda reader, node, field: {field: reader.number(node, field, least, most)}


def _watched(
    read: Callable[[watchlist.Reader, yaml.Node, str], dict[str, Any]],
) -> Callable[[_Reader, yaml.Node, str], dict[str, Any]]:
    return lambda reader, node, field: read(reader, node, field)


def _lists(*allowed: str) -> Callable[[_Reader, yaml.Node, str], dict[str, Any]]:
    return lambda reader, node, field: reader.lists(node, field, allowed)


_FIELDS: dict[str, Callable[[_Reader, yaml.Node, str], dict[str, Any]]] = {
    "collector_url": _Reader.url,
    "ca_file": _Reader.path,
    "proxy": _Reader.proxy,
    "processes": _Reader.processes,
    "intervals": _Reader.intervals,
    "disable": _Reader.disable,
    "volumes": _lists("include", "exclude"),
    "disks": _lists("exclude"),
    "interfaces": _lists("exclude"),
    "ship_every": _seconds(0, 600),
    "spool": _Reader.spool,
    "max_backoff": _seconds(1, 3600),
    "key_days": lambda reader, node, field: {field: reader.number(node, field, 0, 3650)},
    "log_level": _Reader.log_level,
    "services": _watched(watchlist.services),
    "probes": _watched(watchlist.probes),
    "certificates": _watched(watchlist.certificates),
    "storage": _watched(watchlist.storage),
    "iis_logs": _Reader.path,
    "facts_file": _Reader.path,
    "facts_max_age": _seconds(10, 604_800),
    "databases": _watched(watchlist.databases),
    "cluster": _watched(watchlist.cluster),
    "events": _watched(watchlist.events),
}
