"""Which checks run, at which interval: the one place that knows them all."""

from __future__ import annotations

from collections.abc import Callable

from agent.checks import Check
from agent.checks.cpu import CpuCheck
from agent.checks.disk import DiskCheck
from agent.checks.host import HostCheck
from agent.checks.memory import MemoryCheck
from agent.checks.network import NetworkCheck
from agent.checks.own import OwnCheck, OwnState
from agent.checks.process import ProcessCheck
from agent.checks.top import TopCheck
from agent.checks.volume import VolumeCheck
from agent.config import Config
from agent.measure import Emit, Group
from agent.sources import Source


def make_checks(
    config: Config,
    source: Source,
    *,
    clock_offset_s: Callable[[], float | None],
    own_state: Callable[[], OwnState],
    emit: Emit,
) -> list[Check]:
    """The checks that the configuration wants, in the order of their columns."""
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
    ]
    return [check for check in every if check.name not in config.disable]


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
