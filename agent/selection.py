"""Which checks run, at which interval: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Callable

from agent.checks import Check, iis, service
from agent.checks.cpu import CpuCheck
from agent.checks.database import DatabaseCheck
from agent.checks.disk import DiskCheck
from agent.checks.events import EventsCheck, Sink, Stamp
from agent.checks.facts import FactsCheck
from agent.checks.host import HostCheck
from agent.checks.memory import MemoryCheck
from agent.checks.network import NetworkCheck
from agent.checks.own import OwnCheck, OwnState
from agent.checks.peers import PeersCheck
from agent.checks.probe import ProbeCheck
from agent.checks.process import ProcessCheck
from agent.checks.service import ServiceCheck
from agent.checks.storage import StorageCheck
from agent.checks.top import TopCheck
from agent.checks.volume import VolumeCheck
from agent.config import Config
from agent.events import Feed
from agent.events.journal import JournalFeed
from agent.events.logfile import FileFeed
from agent.events.winlog import DEFAULT_CHANNELS, WindowsFeed, system_log
from agent.measure import Emit, Group
from agent.sources import Source


def make_checks(
    config: Config,
    source: Source,
    *,
    clock_offset_s: Callable[[], float | None],
    own_state: Callable[[], OwnState],
    emit: Emit,
    sink: Sink,
    stamp: Stamp,
    on_spooled: Callable[[], None] = lambda: None,
) -> list[Check]:
    """The checks that the configuration wants, in the order of their columns."""
    now_s = stamp.raw_s
    every: list[Check] = [
        CpuCheck(source),
        MemoryCheck(source),
        DiskCheck(source, config.disks_exclude),
        NetworkCheck(source, config.interfaces_exclude),
        ProcessCheck(source, config.processes),
        VolumeCheck(source, config.volumes_include, config.volumes_exclude),
        HostCheck(source, clock_offset_s),
        OwnCheck(source, own_state),
        TopCheck(source, emit),
        *_configured(config, now_s),
    ]
    feeds = make_feeds(config, now_s)
    if feeds:
        every.append(EventsCheck(feeds, config.events_per_minute, sink, stamp, on_spooled))
    return [check for check in every if check.name not in config.disable]


def _configured(config: Config, now_s: Callable[[], float]) -> list[Check]:
    """Checks of what the configuration names; one that has nothing to do is not there at all."""
    found: list[Check] = []
    services = (*config.services, *service.well_known(config.services))
    if services:
        found.append(ServiceCheck(service.for_this_system(), services))
    if (web := iis.for_this_system(config.iis_logs, service.web_server_runs)) is not None:
        found.append(web)
    if config.probes or config.certificates:
        found.append(ProbeCheck(config.probes, config.certificates, now_s))
    if config.storage:
        found.append(StorageCheck(config.storage))
    if config.facts_file is not None:
        found.append(FactsCheck(config.facts_file, config.facts_max_age, now_s))
    if config.cluster:
        found.append(PeersCheck(config.cluster, now_s))
    if config.databases:
        found.append(DatabaseCheck(config.databases))
    return found


def make_feeds(config: Config, now_s: Callable[[], float]) -> list[Feed]:
    """The logs to follow: those configured; on Windows, unless they are configured, those of the default
    rules."""
    feeds: list[Feed] = [FileFeed(file) for file in config.log_files]
    if config.journal is not None:
        feeds.append(JournalFeed(config.journal, now_s))
    make_log = system_log()
    if make_log is not None:
        chosen = DEFAULT_CHANNELS if config.channels is None else config.channels
        feeds += [WindowsFeed(channel, make_log()) for channel in chosen]
    return feeds


def make_groups(checks: list[Check], config: Config, host: str, interval_s: float | None) -> list[Group]:
    """Checks of the same interval share frames. ``interval_s`` overrides all (but the list of the busiest
    processes, which is an event)."""
    by_interval: dict[float, list[Check]] = {}
    for check in checks:
        chosen = config.intervals.get(check.name, check.interval_s)
        if interval_s is not None and check.name != "top":
            chosen = interval_s
        by_interval.setdefault(chosen, []).append(check)
    return [Group(interval, members, host) for interval, members in sorted(by_interval.items())]
