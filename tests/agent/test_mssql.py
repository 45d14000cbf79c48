"""SQL Server is watched: what is read, with which rights, over which TLS, and what a bad server costs."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.checks.database import DatabaseCheck
from agent.databases import Blind, DatabaseFault, Unreachable
from agent.databases.tds import MAX_BYTES
from tests.agent.tds.kit import Site, opened
from tests.agent.tds.model import Model, database
from tests.agent.tds.server import FakeSqlServer, Refusal
from tests.agent.tds.wire import Encryption
from tests.agent.test_watched import by_name
from tests.agent.tls import Authority

GB = 1 << 30


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


def test_a_busy_server_is_not_called_down(site: Site) -> None:
    """Victim of a deadlock at the plainest question: no value for once; another error there: down."""
    model = Model(refuse={"sys.databases": Refusal(1205, "chosen as the deadlock victim", 13)})
    server = site.server(model)
    with pytest.raises(Blind, match="busy"):
        site.database(server).look()
    model.refuse = {"sys.databases": Refusal(701, "insufficient system memory", 17)}
    with pytest.raises(Unreachable, match="701"):
        site.database(server).look()


# ---- TLS ----------------------------------------------------------------------------------------------


def _pin(certificate: Path) -> str:
    first = certificate.read_text().partition("-----BEGIN CERTIFICATE-----")
    der = ssl.PEM_cert_to_DER_cert(first[1] + first[2])
    return hashlib.sha256(der).hexdigest()


def test_certificates_that_are_trusted(site: Site) -> None:
    """By a private root, by its own hash, by address; or, on loopback, not looked at."""
    server = site.server()
    assert site.database(server).look().online
    assert site.database(server, host="127.0.0.1").look().online
    pinned = {"ca_file": None, "certificate_sha256": _pin(site.certificate).upper()}
    assert site.database(server, **pinned).look().online
    assert site.database(server, ca_file=None, tls="unverified").look().online
    assert server.faults == []


@pytest.mark.parametrize("change", ["system", "foreign", "pin", "expired", "name"])
def test_certificates_that_are_not_trusted_get_no_password(site: Site, change: str) -> None:
    """Unknown root, another root, another pin, expired, another name: the login is never sent."""
    certificate = site.certificate
    changes: dict[str, Any] = {}
    match change:
        case "system":
            changes["ca_file"] = None
        case "foreign":
            changes["ca_file"] = Authority(site.folder, "Other Root").ca_file
        case "pin":
            changes = {"ca_file": None, "certificate_sha256": "0" * 64}
        case "expired":
            certificate = site.authority.certificate(-1)
        case "name":
            changes["host"] = "127.0.0.2"
    server = site.server(certificate=certificate, address=changes.get("host", "127.0.0.1"))
    with pytest.raises(Blind) as fault:
        site.database(server, **changes).look()
    assert "certificate" in str(fault.value)
    assert server.logins == []


def test_a_server_that_does_not_encrypt_gets_no_password(site: Site) -> None:
    """Unless the rule says so."""
    server = site.server(encryption=Encryption.NOT_SUPPORTED)
    with pytest.raises(Blind, match="does not encrypt"):
        site.database(server).look()
    assert server.logins == []
    assert site.database(server, tls="plain").look().online


def test_a_server_that_wants_only_the_login_encrypted_gets_it_all_encrypted(site: Site) -> None:
    """We ask for encryption, so it agrees."""
    server = site.server(encryption=Encryption.OFF)
    assert site.database(server).look().online
    assert server.faults == []


def test_a_server_that_sends_us_elsewhere_is_not_followed(site: Site) -> None:
    """The driver would go on there in clear, with the password."""
    there = site.server(encryption=Encryption.NOT_SUPPORTED)
    server = site.server(route=("127.0.0.1", there.port))
    with pytest.raises(Blind, match="another one"):
        site.database(server).look()
    assert there.logins == []


# ---- servers that do harm -----------------------------------------------------------------------------


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a second for everything."""
    monkeypatch.setattr("agent.databases.mssql.CONNECT_S", 0.5)
    monkeypatch.setattr("agent.databases.mssql.TOTAL_S", 1.0)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("stage", ["accept", "prelogin", "tls", "login", "query", "row"])
@pytest.mark.parametrize("how", ["hang_at", "close_at"])
def test_a_server_that_hangs_or_leaves_at_any_point_is_out_of_reach(site: Site, how: str, stage: str) -> None:
    """It costs its own value; no thread and no connection of ours stays."""
    server = site.server(None, **{how: stage})
    database = site.database(server)
    with pytest.raises(Unreachable):
        database.look()
    assert database._line is None
    assert server.faults == []


def test_a_reply_without_end_is_bounded(site: Site) -> None:
    """We stop reading after a quarter of a megabyte."""
    server = site.server(flood=True)
    with pytest.raises(Blind, match=f"{MAX_BYTES} bytes"):
        site.database(server).look()


@pytest.mark.usefixtures("hasty")
def test_a_trickle_is_cut_off(site: Site) -> None:
    """One byte every tenth of a second never passes a timeout of a read, but the deadline of the look."""
    with pytest.raises(Unreachable, match="no answer in time"):
        site.database(site.server(trickle_s=0.1)).look()


@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x04\x01\x00\x09\0\0\1\0\xff",
        b"\x04\x01\xff\xff\0\0\1\0" + bytes(70_000),
        b"\x04\x01\x00\x00\0\0\1\0",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=["http", "no-options", "huge", "no-length", "ssh"],
)
@pytest.mark.usefixtures("hasty")
def test_something_else_behind_the_port_is_named(site: Site, garbage: bytes) -> None:
    """Not followed, not crashed over."""
    with pytest.raises(DatabaseFault) as fault:
        site.database(site.server(garbage=garbage)).look()
    assert fault.value.do


def test_a_restarted_server_is_reconnected_within_the_same_look(site: Site) -> None:
    """The kept connection is dead: no value is lost for that."""
    server = site.server()
    database = site.database(server)
    assert database.look().online
    server.drop_all()
    assert database.look().online
    assert server.accepted == 2


def test_a_hung_server_delays_no_other_and_leaks_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """1,000 ticks beside a server that never answers: at most one thread and one connection for it."""
    monkeypatch.setattr("agent.checks.database.TOTAL_S", 0.02)
    dead, good = site.server(hang_at="prelogin"), site.server()
    check = DatabaseCheck([site.rule(dead, name="dead"), site.rule(good)])
    before = threading.active_count()
    for tick in range(1000):
        found = by_name(check.read(60.0 * tick))
        if tick == 100:
            monkeypatch.setattr("agent.checks.database.TOTAL_S", 5.0)
            by_name(check.read(60.0 * tick))
            monkeypatch.setattr("agent.checks.database.TOTAL_S", 0.0005)
    assert found["ucx.database.online dead"] == 0
    assert found["ucx.database.watched dead"] == 1
    assert dead.open_connections <= 1
    assert good.accepted <= 2
    assert threading.active_count() <= before + 5
