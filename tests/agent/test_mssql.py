"""SQL Server is watched: what is read and with which rights."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.checks.database import DatabaseCheck, pause_s
from agent.databases import Blind, DatabaseFault, Unreachable
from tests.agent.kit import by_name
from tests.agent.tds.kit import Site, allow_time, opened
from tests.agent.tds.model import Model, database
from tests.agent.tds.server import FakeSqlServer, Refusal

GB = 1 << 30


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_time(monkeypatch)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with opened(tmp_path) as site:
        yield site


def values(site: Site, server: FakeSqlServer, ticks: int = 1, **changes: Any) -> dict[str, float | None]:
    """By short name, of the last of some ticks a minute apart."""
    check = DatabaseCheck([site.rule(server, **changes)])
    for tick in range(ticks):
        reading = check.read(60.0 * tick)
    assert server.faults == []
    return {name.split()[0].removeprefix("ucx.database."): value for name, value in by_name(reading).items()}


# ---- what is read -------------------------------------------------------------------------------------


def test_an_express_server_is_read_with_the_documented_login(site: Site) -> None:
    """Everything at once: 2 of 10 GB used, a quarter of the log, one blocked session, a job that fails."""
    model = Model()
    server = site.server(model)
    check = DatabaseCheck([site.rule(server)])
    check.read(0.0)
    model.tables["sys.dm_os_performance_counters"][0]["cntr_value"] = 127
    found = {
        name.split()[0].removeprefix("ucx.database."): v for name, v in by_name(check.read(60.0)).items()
    }
    latency = found.pop("latency")
    assert latency is not None
    assert latency > 0
    assert found == {
        "online": 1,
        "watched": 1,
        "size": 4 * GB,
        "size.utilization": 0.2,
        "free": 8 * GB,
        "free_ratio": None,
        "log.size": GB,
        "log.utilization": 0.25,  # 1 GB of the 1 GB there is and the 3 GB that its volume still has
        "connections.utilization": pytest.approx(9 / 32_767),
        "sessions.blocked": 1,
        "deadlock.rate": 2,
        "backup.age": pytest.approx(20 * 3600, abs=60),
        "jobs.failed": 1,
    }


def test_the_login_says_who_it_is_and_that_it_only_reads(site: Site) -> None:
    """One connection for all ticks, to master, read-only; it sends SELECTs, and SETs for its session."""
    server = site.server()
    assert values(site, server, ticks=3)["online"] == 1
    [login] = server.logins
    assert (login.user, login.password, login.database) == ("ucx_agent", "secret", "master")
    assert (login.app, login.read_only) == ("ucx-agent", True)
    assert server.accepted == 1
    assert {statement.split()[0] for statement, _ in server.statements} == {"SET", "SELECT"}


def test_another_edition_counts_room_on_its_volumes(site: Site) -> None:
    """Standard edition: 2 GB unused in the file and 60 GB on the volume; no limit of the edition."""
    found = values(site, site.server(Model(edition=2)))
    assert found["size.utilization"] is None
    assert found["free"] == 62 * GB
    assert found["free_ratio"] == pytest.approx(62 / 64)


@pytest.mark.parametrize(("state", "online"), [(0, 1), (1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0)])
def test_a_database_in_another_state_is_not_online(site: Site, state: int, online: int) -> None:
    """Restoring, recovering, suspect, emergency, offline: seen from master; its files are not touched."""
    server = site.server(Model(tables={"sys.databases": [database("calls", 5, state=state)]}))
    found = values(site, server)
    assert (found["online"], found["watched"]) == (online, 1)
    touched = any("dm_db_file_space_usage" in statement for statement, _ in server.statements)
    assert touched == bool(online)
    assert found["size"] == 4 * GB


def test_a_database_that_closed_itself_is_not_opened(site: Site) -> None:
    """AUTO_CLOSE: measuring it every minute would start it every minute."""
    asleep = database("calls", 5, is_auto_close_on=1, is_cleanly_shutdown=1)
    server = site.server(Model(tables={"sys.databases": [asleep]}))
    found = values(site, server)
    assert (found["online"], found["size"], found["size.utilization"]) == (1, 4 * GB, None)
    assert not any("[calls]" in statement for statement, _ in server.statements)


def test_names_of_databases_are_names(site: Site) -> None:
    """Brackets, quotes and marks of the driver's own neither break out nor fail."""
    name = "x]; DROP TABLE y--'%s€"
    server = site.server(Model(tables={"sys.databases": [database(name, 5)]}))
    found = values(site, server, database=name)
    assert found["online"] == 1
    assert found["size.utilization"] == 0.2


def test_without_any_backup_the_age_of_the_database_counts(site: Site) -> None:
    """90 days; log backups alone are none."""
    found = values(site, site.server(Model(tables={"dbo.backupset": []})))
    assert found["backup.age"] == 90 * 86_400


def test_what_is_counted_for_the_server_is_told_once(site: Site) -> None:
    """Two databases of one server: deadlocks and jobs come with the first."""
    tables = {"sys.databases": [database("calls", 5), database("fax", 6)]}
    server = site.server(Model(tables=tables))
    rules = [site.rule(server), site.rule(server, name="fax", database="fax")]
    check = DatabaseCheck(rules)
    check.read(0.0)
    found = by_name(check.read(60.0))
    assert found["ucx.database.deadlock.rate calls"] == 0
    assert found["ucx.database.jobs.failed calls"] == 1
    assert found["ucx.database.deadlock.rate fax"] is None
    assert found["ucx.database.jobs.failed fax"] is None


# ---- rights -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "lost", "grant"),
    [
        (
            "VIEW SERVER STATE",
            {"log.utilization", "connections.utilization", "sessions.blocked", "deadlock.rate"}
            | {"size.utilization", "free"},
            "GRANT VIEW SERVER STATE TO [ucx_agent]",
        ),
        (
            "VIEW ANY DEFINITION",
            {"size", "size.utilization", "free", "log.size", "log.utilization"},
            "GRANT VIEW ANY DEFINITION TO [ucx_agent]",
        ),
        ("CONNECT ANY DATABASE", {"size.utilization", "free"}, "GRANT CONNECT ANY DATABASE TO [ucx_agent]"),
        ("msdb", {"backup.age", "jobs.failed"}, "GRANT SELECT ON dbo.backupset TO [ucx_agent]"),
    ],
)
def test_a_missing_right_costs_its_own_values_and_is_named(
    site: Site, right: str, lost: set[str], grant: str
) -> None:
    """Never a false 0: without the right, SQL Server shows a session only itself, and no file at all."""
    model = Model()
    server = site.server(model)
    whole = values(site, server, ticks=2)
    model.rights.remove(right)
    found = values(site, server, ticks=2)
    assert {name for name in found if found[name] is None and whole[name] is not None} == lost
    missing = site.database(server).look().missing
    assert any(grant in one.do for one in missing), missing


def test_from_2022_on_the_smaller_right_is_enough(site: Site) -> None:
    """VIEW SERVER PERFORMANCE STATE shows everything."""
    model = Model(version="16.0.1000.6")
    model.rights = model.rights - {"VIEW SERVER STATE"} | {"VIEW SERVER PERFORMANCE STATE"}
    assert site.database(site.server(model)).look().missing == ()


def test_a_login_that_may_not_see_databases_is_blind(site: Site) -> None:
    """Not offline: nobody is woken. A database that does not exist is."""
    model = Model()
    server = site.server(model)
    with pytest.raises(Unreachable, match="no database 'gone'"):
        site.database(server, database="gone").look()
    model.rights.remove("VIEW ANY DATABASE")
    with pytest.raises(Blind, match="may not see databases") as fault:
        site.database(server).look()
    assert "GRANT VIEW ANY DATABASE TO [ucx_agent]" in fault.value.do


@pytest.mark.parametrize(
    ("number", "kind"),
    [(18456, Blind), (18470, Blind), (18488, Blind), (4060, Unreachable), (18461, Unreachable)],
)
def test_who_is_not_let_in_and_why(site: Site, number: int, kind: type[DatabaseFault]) -> None:
    """Our login's own trouble blinds us; a server that lets nobody in (single user, starting) is down."""
    server = site.server(refuse_login=Refusal(number, "The server's own words."))
    with pytest.raises(kind, match=rf"{number}: The server's own words") as fault:
        site.database(server).look()
    assert fault.value.do
    found = values(site, server)
    assert (found["online"], found["watched"]) == ((None, 0) if kind is Blind else (0, 1))


def test_a_refused_login_is_not_tried_every_minute(site: Site) -> None:
    """Ten hours of a wrong password: some fifteen tries and not six hundred, which would lock the account.
    The password corrected, the next tick is let in. All the while the database counts as not watched."""
    site.password_file.write_text("wrong")
    server = site.server()
    check = DatabaseCheck([site.rule(server)])
    for tick in range(600):
        found = by_name(check.read(60.0 * tick))
        assert (found["ucx.database.online calls"], found["ucx.database.watched calls"]) == (None, 0)
    assert 10 <= server.accepted <= 16
    before = server.accepted
    site.password_file.write_text("secret")
    os.utime(site.password_file, ns=(1, 1))  # whatever the file system's clock is worth
    assert by_name(check.read(36_060.0))["ucx.database.online calls"] == 1
    assert server.accepted == before + 1


def test_the_pause_grows_and_ends() -> None:
    """Two minutes first, an hour at most."""
    assert [pause_s(n) for n in (1, 2, 3, 6, 1000)] == [120, 240, 480, 3600, 3600]


def test_a_busy_server_is_not_called_down(site: Site) -> None:
    """Victim of a deadlock at the plainest question: no value for once; another error there: down."""
    model = Model(refuse={"sys.databases": Refusal(1205, "chosen as the deadlock victim", 13)})
    server = site.server(model)
    with pytest.raises(Blind, match="busy"):
        site.database(server).look()
    model.refuse = {"sys.databases": Refusal(701, "insufficient system memory", 17)}
    with pytest.raises(Unreachable, match="701"):
        site.database(server).look()
