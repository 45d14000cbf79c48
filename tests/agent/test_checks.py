"""Each check against an independent source: psutil, /proc, or arithmetic done by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import psutil
import pytest

from agent.checks import rate, share
from agent.checks.cpu import CpuCheck, utilizations
from agent.checks.disk import DiskCheck, latency
from agent.checks.iis import PATHS, IisCheck
from agent.checks.iislog import SiteLogs
from agent.checks.memory import MemoryCheck
from agent.checks.network import NetworkCheck
from agent.checks.own import CheckHealth, OwnState
from agent.checks.peers import PeerRule
from agent.checks.probe import ProbeRule
from agent.checks.process import ProcessCheck, ProcessRule
from agent.checks.service import ServiceCheck, ServiceRule, Systemd
from agent.checks.storage import StorageRule
from agent.checks.top import TopCheck
from agent.checks.volume import VolumeCheck, choose
from agent.clock import Timekeeper
from agent.config import CHECKS, Config
from agent.databases import DatabaseRule
from agent.events.logfile import LogFile
from agent.outbox import SEVERITIES
from agent.preview import Glance
from agent.reading import Reading
from agent.selection import make_checks, make_groups
from agent.sources import CpuTimes, DiskCounters, Memory, Mount, Process, Source, Usage, for_this_system
from agent.sources.portable import PortableSource
from wire.catalogue import load
from wire.clock import utcnow

FACTS = """{"licences": [{"product": "channels", "expires": "2027-03-31", "used": 54, "limit": 60}],
"tokens": [{"tenant": "contoso", "authorised": true}], "cluster": [{"node": "n2", "replication": "green"}]}"""
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="compares /proc with psutil")


def by_name(reading: Reading) -> dict[str, float | None]:
    return {
        " ".join([column.metric, *(value for _, value in column.attributes)]): value
        for column, value in zip(reading.columns, reading.values, strict=True)
    }


# ---- both sources say the same ------------------------------------------------------------------------


@linux_only
def test_both_sources_agree_on_processor_and_memory() -> None:
    """The cheap reading of /proc and psutil's differ by no more than the time between them."""
    cheap, portable = for_this_system(), PortableSource()
    one, other = cheap.cpu(), portable.cpu()
    assert one.total == pytest.approx(other.total, abs=5)
    assert one.idle == pytest.approx(other.idle, abs=5)
    assert one.user == pytest.approx(other.user, abs=5)
    assert one.system == pytest.approx(other.system, abs=5)
    ram, ram_too = cheap.memory(), portable.memory()
    assert (ram.total, ram.swap_total) == (ram_too.total, ram_too.swap_total)
    assert ram.available == pytest.approx(ram_too.available, rel=0.2)
    assert cheap.processors() == portable.processors()
    assert cheap.uptime_s() == pytest.approx(portable.uptime_s(), abs=5)
    assert cheap.load_1m() == pytest.approx(portable.load_1m(), abs=2)


@linux_only
def test_both_sources_agree_on_disks_volumes_and_network() -> None:
    """Same names, counters no smaller a moment later."""
    cheap, portable = for_this_system(), PortableSource()
    before, counters, after = portable.disks(), cheap.disks(), portable.disks()
    assert set(counters) <= set(before)
    for name, disk in counters.items():
        assert before[name].read_bytes <= disk.read_bytes <= after[name].read_bytes
        assert before[name].writes <= disk.writes <= after[name].writes
        assert before[name].write_s <= disk.write_s <= after[name].write_s
    nets, net = portable.interfaces(), cheap.interfaces()
    assert set(nets) == set(net)
    assert all(nets[name].received_bytes <= net[name].received_bytes for name in net)
    assert cheap.usage("/").total == portable.usage("/").total == psutil.disk_usage("/").total
    points = {mount.mountpoint for mount in cheap.mounts()}
    assert {mount.mountpoint for mount in portable.mounts()} <= points


@linux_only
def test_both_sources_agree_on_a_process() -> None:
    """Name, start, processor time and memory of this one."""
    cheap, portable = for_this_system(), PortableSource()
    one, other = cheap.process(os.getpid()), portable.process(os.getpid())
    assert one is not None
    assert other is not None
    assert one.name == other.name
    assert one.cpu_s == pytest.approx(other.cpu_s, abs=0.5)
    assert one.memory == pytest.approx(other.memory, rel=0.1)
    assert cheap.command_line(os.getpid()) == portable.command_line(os.getpid())
    assert cheap.process(2**22 + 1) is portable.process(2**22 + 1) is None
    assert os.getpid() in cheap.pids()


# ---- arithmetic ---------------------------------------------------------------------------------------


def test_processor_shares_by_hand() -> None:
    """10 s on 2 processors: 15 s idle, 3 s user, 2 s system."""
    before = CpuTimes(100, 50, 20, 20, 5, 0)
    now = CpuTimes(120, 65, 23, 22, 5, 0)
    assert utilizations(now, before) == [0.25, 0.15, 0.1, 0, 0]
    assert utilizations(now, None) == [None] * 5
    assert utilizations(now, now) == [None] * 5, "no time has passed: nothing is known"


def test_disk_latency_by_hand() -> None:
    """3 s for 100 operations; an idle disk keeps nobody waiting; a reset counter says nothing."""
    before = DiskCounters(0, 0, 100, 100, 1.0, 1.0, None)
    assert latency(DiskCounters(0, 0, 150, 150, 2.0, 3.0, None), before) == pytest.approx(0.03)
    assert latency(before, before) == 0.0
    assert latency(DiskCounters(0, 0, 1, 1, 0, 0, None), before) is None


def test_rates_survive_resets() -> None:
    """A counter that went back gives nothing, not a huge number."""
    assert rate(200, 100, 10) == 10
    assert rate(5, 100, 10) is None
    assert rate(200, None, 10) is None
    assert rate(200, 100, 0) is None
    assert share(1, 0) is None


# ---- real readings ------------------------------------------------------------------------------------


def test_a_busy_processor_is_seen() -> None:
    """Work makes the share rise above nothing; all shares lie between 0 and 1."""
    check = CpuCheck(for_this_system())
    check.read(0.0)
    end = time.process_time() + 0.1
    while time.process_time() < end:
        pass
    values = by_name(check.read(1.0))
    total = values["system.cpu.utilization"]
    assert total is not None
    assert 0 < total <= 1


def test_memory_reads_as_psutil_does() -> None:
    """Used is what is not available."""
    values = by_name(MemoryCheck(for_this_system()).read(0.0))
    assert values["system.memory.limit"] == psutil.virtual_memory().total
    used, available = values["system.memory.utilization"], values["system.memory.available"]
    assert used is not None
    assert available is not None
    assert used == pytest.approx(1 - available / psutil.virtual_memory().total)


def test_volumes_give_share_and_bytes_together() -> None:
    """Rules join 'free share' and 'free bytes' of one volume inside one layout."""
    check = VolumeCheck(for_this_system(), include=["/"])
    values = by_name(check.read(0.0))
    space = psutil.disk_usage("/")
    assert values["system.filesystem.free /"] == pytest.approx(space.free, rel=0.01)
    assert values["system.filesystem.limit /"] == space.total
    ratio = values["system.filesystem.free_ratio /"]
    assert ratio == pytest.approx(1 - space.percent / 100, abs=0.01)
    assert check.read(1.0).columns is check.read(2.0).columns


def test_pseudo_file_systems_are_left_out_and_each_device_counts_once() -> None:
    """tmpfs, squashfs, containers' overlays, network mounts: no; the root overlay of a container: yes."""
    mounts = [
        Mount("/", "overlay", "overlay"),
        Mount("/proc", "proc", "proc"),
        Mount("/run", "tmpfs", "tmpfs"),
        Mount("/snap/core/1", "squashfs", "/dev/loop1"),
        Mount("/data", "ext4", "/dev/sdb1"),
        Mount("/data/bind", "ext4", "/dev/sdb1"),
        Mount("/mnt/nfs", "nfs4", "server:/x"),
        Mount("/mnt/rec", "cifs", "//server/rec"),
        Mount("/boot/efi", "vfat", "/dev/sda1"),
        Mount("/over", "ext4", "/dev/sdc1"),
        Mount("/over", "tmpfs", "tmpfs"),
        Mount("/merged", "overlay", "overlay"),
    ]
    chosen = [mount.mountpoint for mount in choose(mounts, ["/mnt/rec", "/data/bind"], ["/boot*"])]
    assert chosen == ["/", "/data", "/data/bind", "/mnt/rec"]


class DeadMount:
    """A source with one local volume and one network mount whose server is gone."""

    def __init__(self) -> None:
        self.free = threading.Event()
        self.asked = 0

    def mounts(self) -> list[Mount]:
        return [Mount("/", "ext4", "/dev/sda"), Mount("/mnt/x", "nfs4", "server:/x")]

    def usage(self, mountpoint: str) -> Usage:
        if mountpoint == "/mnt/x":
            self.asked += 1
            self.free.wait(20)
        return Usage(100, 50, 50, 0, 0)


def test_a_dead_network_mount_costs_only_its_own_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked once, and not again while that call hangs."""
    import agent.checks.volume

    monkeypatch.setattr(agent.checks.volume, "_NETWORK_DEADLINE_S", 0.02)
    source: Any = DeadMount()
    check = VolumeCheck(source, include=["/mnt/x"])
    for _ in range(3):
        values = by_name(check.read(0.0))
        assert values["system.filesystem.free /"] == 50
        assert values["system.filesystem.free /mnt/x"] is None
    assert source.asked == 1
    source.free.set()


@linux_only
def test_disks_and_networks_give_rates_from_the_second_reading_on() -> None:
    """None at first, numbers then; containers' interfaces and loopback are left out."""
    for check in (DiskCheck(for_this_system()), NetworkCheck(for_this_system())):
        first, second = check.read(10.0), check.read(11.0)
        assert all(value is None for value in first.values)
        assert all(value is not None and value >= 0 for value in second.values)
        assert first.columns is second.columns
        assert not any(("network.interface.name", "lo") in column.attributes for column in first.columns)


@linux_only
def test_a_configured_process_is_found_followed_and_missed() -> None:
    """Started, working, gone: count 0, then 1 with processor share and memory, then 0."""
    rules = [ProcessRule("worker", "python*", "*ucx-test-worker*"), ProcessRule("none", "no-such-program")]
    check = ProcessCheck(for_this_system(), rules)
    assert by_name(check.read(0.0))["ucx.process.count worker"] == 0
    program = "import sys\nprint('up', flush=True)\nwhile True: pass"
    with subprocess.Popen(
        [sys.executable, "-c", program, "ucx-test-worker"], stdout=subprocess.PIPE
    ) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        check.read(1.0)
        time.sleep(0.2)
        values = by_name(check.read(1.2))
        worker.kill()
    busy, memory = values["process.cpu.utilization worker"], values["process.memory.usage worker"]
    assert values["ucx.process.count worker"] == 1
    assert busy is not None
    assert 0 < busy <= 1
    assert memory is not None
    assert memory > 1 << 20
    assert values["ucx.process.count none"] == 0
    assert values["process.cpu.utilization none"] == 0
    assert by_name(check.read(2.0))["ucx.process.count worker"] == 0


class Census:
    """A source of processes that counts how often it is asked."""

    def __init__(self) -> None:
        self.running = {pid: Process(pid, "other", 1.0, 0.0, 0) for pid in range(1, 301)}
        self.looks = 0

    def pids(self) -> list[int]:
        return list(self.running)

    def process(self, pid: int) -> Process | None:
        self.looks += 1
        return self.running.get(pid)

    def processors(self) -> int:
        return 2

    def memory(self) -> Memory:
        return Memory(1000, 500, 0, 0)

    def command_line(self, pid: int) -> str:
        return ""


def test_a_tick_looks_only_at_what_is_new_or_ours() -> None:
    """300 processes: all are looked at twice and then every five minutes; a usual tick looks at one."""
    census: Any = Census()
    census.running[7] = Process(7, "sqlservr", 1.0, 10.0, 250)
    check = ProcessCheck(census, [ProcessRule("sqlservr", "sqlservr")])
    for tick in range(2):
        check.read(tick * 15.0)
    census.looks = 0
    census.running[7] = Process(7, "sqlservr", 1.0, 25.0, 250)
    census.running[400] = Process(400, "sqlservr", 2.0, 3.0, 250)
    values = by_name(check.read(30.0))
    assert census.looks == 2
    assert values["process.cpu.utilization sqlservr"] == (15.0 + 3.0) / (15.0 * 2)
    assert values["process.memory.utilization sqlservr"] == 0.5
    census.running[9] = Process(9, "sqlservr", 3.0, 1.0, 100)  # a reused pid
    check.read(45.0)
    assert by_name(check.read(300.0))["ucx.process.count sqlservr"] == 3


def test_the_busiest_processes_are_told_by_name_only() -> None:
    """No arguments, no users; the same name counts together."""
    census: Any = Census()
    told: list[tuple[str, str, dict[str, str]]] = []
    check = TopCheck(census, lambda *event: told.append(event))
    check.read(0.0)
    assert not told, "the first look has nothing to compare with"
    census.running[7] = Process(7, "java", 1.0, 30.0, 2 << 20)
    check.read(300.0)
    [(event_id, message, attributes)] = told
    assert event_id == "process.top"
    assert message.startswith("Busiest processes: java 5.0% CPU, 2 MB; other")
    assert attributes["top.1.name"] == "java"
    assert attributes["top.2.count"] == "299"


# ---- the catalogue ------------------------------------------------------------------------------------


class Everything:
    """Emitted columns of all checks on this host, with a process and a volume configured."""

    config: ClassVar[Config] = Config(
        processes=(ProcessRule("python", "python*"),),
        volumes_include=(str(Path("/").resolve()),),
        services=(ServiceRule("ssh"),),
        probes=(ProbeRule("portal", "https://127.0.0.1:9/"),),
        storage=(StorageRule("archive", Path("/nowhere")),),
        cluster=(PeerRule("n2", "127.0.0.1", 9),),
        databases=(DatabaseRule("ucx", "postgresql", "127.0.0.1", 9, "nobody", "ucx"),),
        log_files=(LogFile("app", Path("/nowhere/app.log"), ()),),
    )

    def __init__(self, source: Source, folder: Path) -> None:
        facts = folder / "facts.json"
        facts.write_text(FACTS)
        services = folder / "systemctl"
        services.write_text("#!/bin/sh\nexit 0\n")
        services.chmod(0o755)
        self.config = msgspec.structs.replace(self.config, facts_file=facts)  # type: ignore[misc]
        health = {name: CheckHealth(0.1, 0) for name in CHECKS}
        self.checks = make_checks(
            self.config,
            source,
            clock_offset_s=lambda: 0.0,
            own_state=lambda: OwnState(0, 0, 0, 0, 0, 0, health),
            emit=lambda *_: None,
            sink=Glance(),
            stamp=Timekeeper(utcnow),
        )
        for check in self.checks:
            if isinstance(check, ServiceCheck):  # here may be no systemd to ask
                check._manager = Systemd([str(services)])
        if sys.platform != "win32":  # there it is among them; its series come from counters that we lack
            (folder / "W3SVC1").mkdir(exist_ok=True)
            (folder / "W3SVC1" / "u_ex1.log").write_bytes(b"")
            self.checks.append(IisCheck(OnePool(), SiteLogs(folder), lambda: True))


class OnePool:
    """Counters of an IIS with one pool and one site."""

    def read(self) -> dict[str, dict[str, float]]:
        return {path: {"Portal": 3.0} for path in PATHS}


@pytest.mark.parametrize("source", [for_this_system(), PortableSource()], ids=["cheap", "portable"])
def test_what_is_emitted_is_what_the_catalogue_says(source: Source, tmp_path: Path) -> None:
    """Names, attributes and checks: both lists are equal, in both directions (on Linux, which knows all)."""
    emitted = {}
    for check in Everything(source, tmp_path).checks:
        for column in check.read(0.0).columns:
            emitted[column.metric] = (check.name, tuple(name for name, _ in column.attributes))
    listed = {row.name: (row.check, row.attributes) for row in load().metrics.values()}
    assert {name: row for name, row in listed.items() if name in emitted} == emitted
    if sys.platform == "linux":
        assert set(emitted) == set(listed)


def test_default_intervals_are_those_of_the_catalogue(tmp_path: Path) -> None:
    """And the checks' names those of the configuration."""
    checks = Everything(for_this_system(), tmp_path).checks
    intervals = {check.name: check.interval_s for check in checks}
    assert set(intervals) == set(CHECKS)
    for row in load().metrics.values():
        assert intervals[row.check] == row.interval, row.name


def test_the_agents_own_events_are_those_of_the_catalogue() -> None:
    """Ids and severities."""
    assert {row.id: row.severity for row in load().events.values()} == SEVERITIES


def test_checks_of_one_interval_share_their_frames() -> None:
    """Fast, slow, and the list of processes; an interval given by hand overrides all but that list. What is
    not configured is not there."""
    health = {name: CheckHealth(0.1, 0) for name in CHECKS}
    checks = make_checks(
        Config(),
        for_this_system(),
        clock_offset_s=lambda: 0.0,
        own_state=lambda: OwnState(0, 0, 0, 0, 0, 0, health),
        emit=lambda *_: None,
        sink=Glance(),
        stamp=Timekeeper(utcnow),
    )
    assert [group.interval_s for group in make_groups(checks, Config(), "h", None)] == [15, 60, 300]
    assert [group.interval_s for group in make_groups(checks, Config(), "h", 1.0)] == [1, 300]
    custom = Config(intervals={"cpu": 5.0})
    assert [group.interval_s for group in make_groups(checks, custom, "h", None)] == [5, 15, 60, 300]
