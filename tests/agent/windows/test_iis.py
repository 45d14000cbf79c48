"""IIS: pools, queues, requests from performance counters; server errors from the sites' logs."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.checks.iis import (
    FAILURES,
    PATHS,
    QUEUED,
    REJECTED,
    REQUESTS,
    STATE,
    WORKERS,
    IisCheck,
    flatten,
    is_instance,
)
from agent.checks.iislog import Position, SiteLogs, count
from agent.reading import Reading
from tests.agent.windows.pdh import Pdh
from tests.agent.windows.world import REAL, World, on_windows
from wire.catalogue import load

FIELDS = (
    b"#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query"
    b" s-port cs-username c-ip sc-status sc-substatus\r\n"
)


def line(status: int) -> bytes:
    return b"2026-11-23 05:40:11 10.0.0.5 GET /portal - 443 - 10.0.0.9 %d 0\r\n" % status


def values(reading: Reading) -> dict[str, float | None]:
    pairs = zip(reading.columns, reading.values, strict=True)
    return {f"{c.metric.removeprefix('ucx.iis.')} {c.attributes[0][1]}": value for c, value in pairs}


@pytest.fixture
def pdh(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Pdh, Any]]:
    if REAL:
        pytest.skip("over the fake; the real counters have a test of their own")
    world = World()
    fake = Pdh(world)
    with on_windows(world, monkeypatch, "agent.windows.counters") as (module,):
        yield fake, module.SystemCounters(PATHS)


def serve(fake: Pdh, *, total: float = 100, state: float = 3) -> None:
    fake.set(STATE, _Total=1, Portal=state, Api=3)
    fake.set(WORKERS, _Total=2, Portal=1, Api=1)
    fake.set(FAILURES, _Total=0, Portal=0, Api=0)
    fake.set(QUEUED, Portal=7, Api=0, **{"---": 0})
    fake.set(REJECTED, Portal=total / 10, Api=0)
    fake.set(REQUESTS, _Total=total, **{"Default Web Site": total})


def test_pools_queues_and_requests_are_read(pdh: tuple[Pdh, Any]) -> None:
    """Per pool and site, totals left out; totals of IIS become rates; a pool that stops shows at once."""
    fake, counters = pdh
    check = IisCheck(counters, None, lambda: True)
    serve(fake)
    first = values(check.read(10.0))
    assert first["application_pool.running Portal"] == 1
    assert first["request_queue.length Portal"] == 7
    assert first["requests Default Web Site"] is None
    assert not any("_Total" in name or "---" in name for name in first)
    serve(fake, total=400, state=5)
    second = values(check.read(40.0))
    assert second["application_pool.running Portal"] == 0
    assert second["application_pool.running Api"] == 1
    assert second["requests Default Web Site"] == 10
    assert second["request_queue.rejected Portal"] == 1
    assert check.read(70.0).columns is check.read(100.0).columns


def test_every_metric_stands_in_the_catalogue(pdh: tuple[Pdh, Any], tmp_path: Path) -> None:
    """Name, attribute and check."""
    fake, counters = pdh
    serve(fake)
    (tmp_path / "W3SVC1").mkdir()
    (tmp_path / "W3SVC1" / "u_ex261123.log").write_bytes(FIELDS)
    reading = IisCheck(counters, SiteLogs(tmp_path), lambda: True).read(1.0)
    rows = {name: row for name, row in load().metrics.items() if row.check == "iis"}
    assert {column.metric for column in reading.columns} == set(rows)
    for column in reading.columns:
        assert tuple(name for name, _ in column.attributes) == rows[column.metric].attributes


@pytest.mark.parametrize(
    ("state", "running"), [(1, None), (2, 1), (3, 1), (4, 0), (5, 0), (6, 0), (7, None), (0, None)]
)
def test_states_of_a_pool(pdh: tuple[Pdh, Any], state: float, running: float | None) -> None:
    """One that waits for its first request is in order; one not known, or being deleted, wakes nobody."""
    fake, counters = pdh
    serve(fake, state=state)
    assert (
        values(IisCheck(counters, None, lambda: True).read(1.0))["application_pool.running Portal"] == running
    )


def test_a_host_without_iis_costs_and_says_nothing(pdh: tuple[Pdh, Any]) -> None:
    """No object: no series, no fault; when IIS is installed later, it is found."""
    fake, counters = pdh
    check = IisCheck(counters, None, lambda: False)
    for tick in range(25):
        assert check.read(float(tick)).columns == ()
    serve(fake)
    for tick in range(20):
        reading = check.read(100.0 + tick)
    assert reading.columns
    assert fake.open_queries == 1


def test_counters_that_are_missing_though_iis_runs_are_a_fault_that_says_what_to_do(
    pdh: tuple[Pdh, Any],
) -> None:
    """No right to read them looks like an absent object: silence would hide it."""
    _, counters = pdh
    with pytest.raises(OSError, match="Performance Monitor Users"):
        IisCheck(counters, None, lambda: True).read(1.0)


def test_denied_counters_are_a_fault_and_are_asked_again(pdh: tuple[Pdh, Any]) -> None:
    """The query is closed after a fault, and opened anew at the next reading."""
    fake, counters = pdh
    serve(fake)
    fake.denied = True
    check = IisCheck(counters, None, lambda: False)
    with pytest.raises(OSError, match="Performance Monitor Users"):
        check.read(1.0)
    assert fake.open_queries == 0
    fake.denied = False
    assert check.read(2.0).columns


def test_a_service_that_stops_takes_its_instances_along(pdh: tuple[Pdh, Any]) -> None:
    """PDH_NO_DATA and invalid data are no faults: there is nothing to measure."""
    fake, counters = pdh
    check = IisCheck(counters, None, lambda: False)
    serve(fake)
    check.read(1.0)
    for path in PATHS:
        fake.set(path)
    assert check.read(2.0).columns == ()


def test_a_counter_that_reads_zero_for_once_makes_no_burst(pdh: tuple[Pdh, Any]) -> None:
    """pywin32 gives 0 for a value that was not valid.

    Broken twin: keeping that 0 as the earlier total gave (1000 - 0) / 30 s here."""
    fake, counters = pdh
    check = IisCheck(counters, None, lambda: True)
    serve(fake, total=900)
    check.read(0.0)
    serve(fake, total=0)
    assert values(check.read(30.0))["requests Default Web Site"] is None
    serve(fake, total=1000)
    found = values(check.read(60.0))["requests Default Web Site"]
    assert found is not None
    assert found < 10


@given(
    st.dictionaries(
        st.sampled_from(PATHS), st.dictionaries(st.text(max_size=8), st.floats(0, 1e9), max_size=5)
    )
)
def test_series_have_a_steady_order(found: dict[str, dict[str, float]]) -> None:
    """However the counters come, the layout is the same; instances stay together."""
    columns = list(flatten(found))
    turned = {path: dict(reversed(list(found[path].items()))) for path in reversed(list(found))}
    assert list(flatten(turned)) == columns
    instances = [column.attributes for column in columns]
    assert len(set(instances)) == len([i for n, i in enumerate(instances) if n == 0 or instances[n - 1] != i])
    assert all(is_instance(column.attributes[0][1]) for column in columns)


@pytest.mark.skipif(not REAL, reason="the real counters are on Windows only")
def test_real_counters_are_read() -> None:  # pragma: no cover - on Windows only
    """One that every Windows has."""
    SystemCounters = import_module("agent.windows.counters").SystemCounters
    path = r"\Process(*)\Thread Count"
    assert SystemCounters([path, r"\UCX Nothing(*)\Nothing"]).read()[path]["System"] > 0


# ---- server errors ------------------------------------------------------------------------------------


def test_server_errors_are_counted_from_now_on(tmp_path: Path) -> None:
    """Across the turn of the day; half lines wait; other folders are not ours; only sc-status counts."""
    folder = tmp_path / "W3SVC2"
    folder.mkdir()
    (tmp_path / "FTPSVC2").mkdir()
    (tmp_path / "W3SVC3").mkdir()
    log = folder / "u_ex261123.log"
    log.write_bytes(b"#Software: IIS\r\n" + FIELDS + line(500) * 5)
    logs = SiteLogs(tmp_path)
    assert logs.read() == {"2": 0}
    with log.open("ab") as file:
        file.write(
            line(200) + line(500) + line(503) + line(404).replace(b"/portal", b"/500 500".replace(b" ", b"+"))
        )
        file.write(line(502)[:20])
    assert logs.read() == {"2": 2}
    with log.open("ab") as file:
        file.write(line(502)[20:] + line(500))
    (folder / "u_ex261124.log").write_bytes(FIELDS + line(500))
    assert logs.read() == {"2": 5}
    (folder / "u_ex261124.log").write_bytes(
        FIELDS.replace(b"date time ", b"") + line(599).partition(b" 10.")[2]
    )
    assert logs.read() == {"2": 6}  # shorter than before: written anew, with other fields
    assert SiteLogs(tmp_path / "nothing").read() == {}


def test_logs_that_may_not_be_read_cost_the_pools_nothing(
    pdh: tuple[Pdh, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The account must be given the right first: until then pools are watched all the same. Said once.

    It was not so: the whole check failed."""
    fake, counters = pdh
    serve(fake)

    def refuse(*_: object) -> Any:
        raise PermissionError(13, "Access is denied")

    logs = SiteLogs(tmp_path)
    check = IisCheck(counters, logs, lambda: True)
    with monkeypatch.context() as patch:
        patch.setattr("agent.checks.iislog.os.scandir", refuse)
        for tick in range(3):
            assert values(check.read(float(tick)))["application_pool.running Portal"] == 1
    assert "Access is denied" in logs.fault
    assert len(caplog.records) == 1


def test_a_log_that_grows_faster_than_it_is_read_is_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reading takes its share; nothing is skipped, and lines are never cut."""
    monkeypatch.setattr("agent.checks.iislog._CHUNK", 300)
    monkeypatch.setattr("agent.checks.iislog._MOST_BYTES", 600)
    folder = tmp_path / "W3SVC1"
    folder.mkdir()
    (folder / "u_ex1.log").write_bytes(FIELDS)
    logs = SiteLogs(tmp_path)
    logs.read()
    with (folder / "u_ex1.log").open("ab") as file:
        file.write(line(500) * 40)
    seen = [logs.read()["1"] for _ in range(10)]
    assert seen == sorted(seen)
    assert 0 < seen[0] < seen[-1] == 40


@given(st.binary(max_size=300), st.integers(-1, 20))
def test_any_bytes_are_counted_or_passed_over(chunk: bytes, status: int) -> None:
    """A damaged log never stops the check."""
    after = count(chunk, Position("a", 0, status, 0))
    assert after.offset == len(chunk)
    assert 0 <= after.errors <= chunk.count(b"\n") + 1
