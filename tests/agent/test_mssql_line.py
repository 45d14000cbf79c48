"""The line to a SQL Server: trust, logins, servers that do harm, and what the administrator is told."""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import spnego
import spnego.exceptions

from agent.checks.database import DatabaseCheck
from agent.databases import Blind, DatabaseFault, Unreachable
from agent.databases.tds import MAX_BYTES
from agent.main import main
from tests.agent.kit import by_name
from tests.agent.tds.kit import Site, allow_time, opened
from tests.agent.tds.model import Model, database
from tests.agent.tds.server import Refusal
from tests.agent.tds.wire import Encryption
from tests.agent.tls import Authority


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    allow_time(monkeypatch)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with opened(tmp_path) as site:
        yield site


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


def test_roots_that_cannot_be_read_are_named(site: Site) -> None:
    """Not there, or no PEM; nothing stays open."""
    server = site.server()
    for name in ("absent.pem", "password"):
        with pytest.raises(Blind, match="ca_file"):
            site.database(server, ca_file=site.folder / name).look()
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
    """Half a second for each part."""
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
    """1,000 ticks beside a server that never answers: one thread and one connection for it at most, and the
    other database has its values."""
    monkeypatch.setattr("agent.databases.mssql.CONNECT_S", 2.0)
    dead, good = site.server(hang_at="prelogin"), site.server()
    check = DatabaseCheck([site.rule(dead, name="dead"), site.rule(good)])
    before = threading.active_count()
    monkeypatch.setattr("agent.checks.database.TOTAL_S", 0.0)
    for tick in range(1000):
        check.read(60.0 * tick)
        assert threading.active_count() <= before + 4  # a look and a fake server's thread for each
    assert dead.open_connections <= 1
    monkeypatch.setattr("agent.checks.database.TOTAL_S", 40.0)
    for thread in [one for one in threading.enumerate() if one.name == "ucx-bounded"]:
        thread.join(20)  # what the last of these ticks left behind
    found = by_name(check.read(60_000.0))
    assert (found["ucx.database.online dead"], found["ucx.database.watched dead"]) == (0, 1)
    assert found["ucx.database.online calls"] == 1


# ---- Windows authentication, and what the administrator is told ------------------------------------------


def _acceptor() -> Any:
    """One side of SPNEGO with NTLM inside, as Windows' own."""
    acceptor = spnego.server(protocol="negotiate")

    def step(token: bytes) -> tuple[bytes, bool]:
        try:
            return acceptor.step(token) or b"", acceptor.complete
        except spnego.exceptions.SpnegoError:
            raise Refusal(18452, "Login failed. The login is from an untrusted domain.") from None

    return step


def test_windows_authentication_with_a_password(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """NTLM inside SPNEGO, step by step: no password in the login packet; a wrong one blinds us."""
    users = site.folder / "users"
    users.write_text("CONTOSO:agent:pässword\n", encoding="utf-8")
    monkeypatch.setenv("NTLM_USER_FILE", str(users))
    password = site.folder / "windows"
    password.write_text("pässword\n", encoding="utf-8")
    server = site.server(accept_sspi=_acceptor())
    assert site.database(server, user="CONTOSO\\agent", password_file=password).look().online
    [login] = server.logins
    assert (login.integrated, login.user, login.password) == (True, "", "")
    assert server.faults == []
    wrong = site.server(accept_sspi=_acceptor())
    with pytest.raises(Blind, match="18452"):
        site.database(wrong, user="CONTOSO\\agent").look()


def test_without_a_user_only_windows_can_log_in(site: Site) -> None:
    """Told before anything is sent."""
    server = site.server()
    with pytest.raises(Blind, match="only an agent on Windows"):
        site.database(server, user="").look()
    assert server.logins == []


def test_doctor_explains_each_trouble_with_a_database(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Name, port, trust, login, password file, right, state: what it is and what to do."""
    poor = Model()
    poor.rights -= {"msdb", "VIEW SERVER STATE"}
    good, missing = site.server(), site.server(poor)
    offline = site.server(Model(tables={"sys.databases": [database("calls", 5, state=4)]}))
    refused = site.server(refuse_login=Refusal(18456, "Login failed for user 'ucx_agent'."))
    rest = f"engine: mssql, database: calls, user: ucx_agent, password_file: {site.password_file}"
    trusted = f"{rest}, ca_file: {site.authority.ca_file}"
    entries = {
        "good": f"port: {good.port}, {trusted}",
        "missing": f"port: {missing.port}, {trusted}",
        "offline": f"port: {offline.port}, {trusted}",
        "refused": f"port: {refused.port}, {trusted}",
        "untrusted": f"port: {good.port}, {rest}",
        "unknown": f"host: no-such-host.invalid, {trusted}",
        "closed": f"host: 127.0.0.1, port: 9, {trusted}",
        "unreadable": f"port: {good.port}, engine: mssql, user: x, password_file: {tmp_path}",
    }
    lines = "\n".join(f"  - {{name: {name}, {entry}}}" for name, entry in entries.items())
    config = tmp_path / "agent.yaml"
    config.write_text(f"databases:\n{lines}\ndisable: [cpu, disk, network, process, top, volume]\n")
    main(["--state-dir", str(tmp_path), "--config", str(config), "doctor", "--json"])
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    told: dict[str, list[dict[str, str]]] = {}
    for finding in said:
        if finding["subject"].startswith("database "):
            told.setdefault(finding["subject"].removeprefix("database "), []).append(finding)
    assert {name: [one["level"] for one in found] for name, found in told.items()} == {
        "good": ["ok"],
        "missing": ["ok", "warning", "warning", "warning", "warning"],
        **{
            name: ["problem"]
            for name in ("offline", "refused", "untrusted", "unknown", "closed", "unreadable")
        },
    }
    for name, words in {
        "missing": "GRANT VIEW SERVER STATE TO [ucx_agent]",
        "offline": "error log",
        "refused": "mixed mode",
        "untrusted": "ca_file",
        "unknown": "DNS",
        "closed": "TCP/IP",
        "unreadable": "readable for the agent's user",
    }.items():
        assert any(words in one["do"] for one in told[name]), told[name]
