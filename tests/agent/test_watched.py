"""Services, endpoints, certificates, storage, facts and databases against the real thing."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agent.checks.facts import FactsCheck
from agent.checks.peers import PeerRule, PeersCheck, offset
from agent.checks.probe import CertificateRule, ProbeCheck, ProbeRule
from agent.checks.service import ServiceCheck, ServiceRule, Systemd
from tests.agent.kit import by_name
from tests.agent.tls import Authority, secure

DAY_S = 86_400
_DB = "ucx.database"


# ---- services -----------------------------------------------------------------------------------------

_UNITS = """\
Type=notify
NRestarts=3
Id=ucx-core.service
Names=ucx-core.service
LoadState=loaded
ActiveState=active
UnitFileState=enabled

Id=mariadb.service
Names=mysql.service mariadb.service
LoadState=loaded
ActiveState=failed
UnitFileState=enabled
NRestarts=0

Id=old.service
Names=old.service
LoadState=loaded
ActiveState=inactive
UnitFileState=disabled
NRestarts=0

Id=none.service
Names=none.service
LoadState=not-found
ActiveState=inactive
UnitFileState=
NRestarts=0
"""


def systemctl(folder: Path, body: str) -> Systemd:
    """A stand-in for systemctl: here runs no systemd. It refuses what the real one would."""
    program = folder / "systemctl"
    known = (
        '{ [ "$1" = show ] && [ "$4" = -- ]; } || { [ "$1" = list-unit-files ] && [ "$4" = --no-legend ]; }'
    )
    program.write_text(f'#!/bin/sh\n[ "$2" = --no-pager ] || exit 9\n{known} || exit 9\n{body}\n')
    program.chmod(0o755)
    return Systemd([str(program)])


def test_services_that_should_run_and_do_not_are_seen(tmp_path: Path) -> None:
    """Aliases are found; what is disabled or not installed gives no value, so nobody is woken for it."""
    (tmp_path / "units").write_text(_UNITS)
    manager = systemctl(tmp_path, f"cat {tmp_path}/units")
    rules = [
        ServiceRule("ucx-core", "core"),
        ServiceRule("mysql", "database"),
        ServiceRule("old"),
        ServiceRule("none"),
    ]
    values = by_name(ServiceCheck(manager, rules).read(0.0))
    assert values == {
        "ucx.service.running ucx-core core": 1.0,
        "ucx.service.restarts ucx-core": 3,
        "ucx.service.running mysql database": 0.0,
        "ucx.service.restarts mysql": 0,
        "ucx.service.running old other": None,
        "ucx.service.restarts old": 0,
        "ucx.service.running none other": None,
        "ucx.service.restarts none": None,
    }


def test_a_pattern_means_the_units_that_are_installed(tmp_path: Path) -> None:
    """Templates are none; what a rule names keeps its class, whatever a pattern says."""
    manager = systemctl(
        tmp_path,
        """case $1 in
list-unit-files) printf 'ucx-core.service enabled enabled\\nucx-web.service enabled enabled\\n'
                 printf 'ucx-job@.service static -\\nssh.service enabled enabled\\n'
                 printf 'ucx-portal.service alias -\\n' ;;
*) printf 'Id=ucx-web.service\\nLoadState=loaded\\nActiveState=active\\nUnitFileState=enabled\\n' ;;
esac""",
    )
    assert list(manager.installed()) == ["ucx-core", "ucx-web", "ssh"]
    rules = [ServiceRule("UCX-*", "other"), ServiceRule("ucx-core", "core")]
    values = by_name(ServiceCheck(manager, rules).read(0.0))
    assert values["ucx.service.running ucx-web other"] == 1.0
    assert "ucx.service.running ucx-core core" in values
    assert len(values) == 4


def test_a_service_manager_that_fails_or_hangs_fails_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never says "not running" for a question that was not answered."""
    with pytest.raises(OSError, match="no bus"):
        systemctl(tmp_path, "echo no bus >&2; exit 1").states(["a"])
    monkeypatch.setattr("agent.checks.service._DEADLINE_S", 0.1)
    with pytest.raises(OSError, match="does not answer"):
        systemctl(tmp_path, "exec sleep 20").states(["a"])


# ---- endpoints and certificates -----------------------------------------------------------------------


class _Portal(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/slow":
            self.server.release.wait(20)  # type: ignore[attr-defined]
        if self.path == "/together":
            _wait_for(self.server.together)  # type: ignore[attr-defined]
        status = 503 if self.path == "/down" else 200
        self.send_response(status)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"Sign in")

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


class Portal(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Portal)
        self.release = threading.Event()
        self.together = threading.Barrier(1)
        port = self.server_address[1]
        self.url = secure(self, certificate) if certificate else f"http://127.0.0.1:{port}"

    def __enter__(self) -> Portal:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.release.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust us is no fault of the test."""


def probe(*rules: ProbeRule) -> dict[str, float | None]:
    return by_name(ProbeCheck(rules, [], time.time).read(0.0))


def test_a_probe_asks_for_status_and_text(tmp_path: Path) -> None:
    """Up, down, another text, nobody there."""
    with Portal() as portal:
        values = probe(
            ProbeRule("up", f"{portal.url}/", "Sign in"),
            ProbeRule("down", f"{portal.url}/down"),
            ProbeRule("expected", f"{portal.url}/down", status=(503,)),
            ProbeRule("other", f"{portal.url}/", "Welcome"),
            ProbeRule("gone", "http://127.0.0.1:9/"),
        )
    success = {
        name: values[f"ucx.probe.success {name}"] for name in ("up", "down", "expected", "other", "gone")
    }
    assert success == {"up": 1, "down": 0, "expected": 1, "other": 0, "gone": 0}
    latency = values["ucx.probe.duration up"]
    assert latency is not None
    assert latency > 0
    assert values["ucx.probe.duration gone"] is None


def test_a_certificate_is_read_with_its_days_left_trusted_or_not(tmp_path: Path) -> None:
    """Good, expired, and of an unknown issuer: all have a number; only the good one is trusted."""
    ours, theirs = Authority(tmp_path), Authority(tmp_path, "Unknown Root")
    good, old = ours.certificate(30), ours.certificate(-2)
    foreign = theirs.certificate(60)
    with Portal(good) as one, Portal(old) as two, Portal(foreign) as three:
        values = probe(
            ProbeRule("good", one.url, ca_file=ours.ca_file),
            ProbeRule("old", two.url, ca_file=ours.ca_file),
            ProbeRule("foreign", three.url, ca_file=ours.ca_file),
        )
    for name, days, trusted in (("good", 30, 1), ("old", -2, 0), ("foreign", 60, 0)):
        assert values[f"ucx.certificate.remaining {name}"] == pytest.approx(days * DAY_S, abs=120)
        assert values[f"ucx.certificate.trusted {name}"] == trusted
        assert values[f"ucx.probe.success {name}"] == trusted


def test_an_endpoint_that_hangs_costs_its_own_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are answered; it counts as failed."""
    monkeypatch.setattr("agent.checks.probe._TOTAL_S", 3.0)
    with Portal() as portal:
        values = probe(ProbeRule("slow", f"{portal.url}/slow"), ProbeRule("up", f"{portal.url}/"))
    assert values["ucx.probe.success slow"] == 0
    assert values["ucx.probe.success up"] == 1


def test_endpoints_are_asked_at_the_same_time() -> None:
    """None of these answers before all of them were asked. One after the other, a few that hang would pass
    the check's own deadline, and no endpoint would have a value. Broken twin: ``call`` in a loop."""
    number = 8
    with Portal() as portal:
        portal.together = threading.Barrier(number)
        rules = [ProbeRule(f"p{n}", f"{portal.url}/together") for n in range(number)]
        values = by_name(ProbeCheck(rules, [], time.time).read(0.0))
    assert [values[f"ucx.probe.success p{n}"] for n in range(number)] == [1] * number


def test_nodes_are_asked_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of these answers before all of them were asked."""
    monkeypatch.setattr("agent.checks.peers._ANSWER_S", 20.0)
    monkeypatch.setattr("agent.checks.peers._TOTAL_S", 30.0)
    together = threading.Barrier(6)
    servers = [TimeServer(3600, lambda _: _wait_for(together)) for _ in range(6)]
    rules = [PeerRule(f"n{n}", "127.0.0.1", server.port) for n, server in enumerate(servers)]
    told = PeersCheck(rules, time.time).read(0.0).values
    assert list(told) == [pytest.approx(3600, abs=30)] * 6


def _wait_for(barrier: threading.Barrier) -> None:
    with contextlib.suppress(threading.BrokenBarrierError):
        barrier.wait(20)


def test_certificates_in_files(tmp_path: Path) -> None:
    """PEM with its key and DER; the earliest end of a chain counts; an unreadable file has no value."""
    authority = Authority(tmp_path)
    pem = authority.certificate(10)
    chain = tmp_path / "chain.pem"
    chain.write_bytes(authority.ca_file.read_bytes() + pem.read_bytes())
    (tmp_path / "bad.pem").write_text("no certificate")
    rules = [
        CertificateRule("a", pem),
        CertificateRule("b", chain),
        CertificateRule("c", tmp_path / "bad.pem"),
    ]
    values = by_name(ProbeCheck([], rules, time.time).read(0.0))
    assert values["ucx.certificate.remaining a"] == pytest.approx(10 * DAY_S, abs=120)
    assert values["ucx.certificate.remaining b"] == pytest.approx(10 * DAY_S, abs=120)
    assert values["ucx.certificate.remaining c"] is None


# ---- facts --------------------------------------------------------------------------------------------


def test_facts_of_the_platform(tmp_path: Path) -> None:
    """Licences to the end of their last day, use, tokens, replication."""
    path = tmp_path / "facts.json"
    path.write_text(
        json.dumps(
            {
                "licences": [{"product": "channels", "expires": "2026-11-24", "used": 54, "limit": 60}],
                "tokens": [{"tenant": "contoso", "authorised": False}],
                "cluster": [{"node": "n2", "replication": "yellow"}],
            }
        )
    )
    os.utime(path, (1_795_392_000, 1_795_392_000))  # 2026-11-23 00:00 UTC
    check = FactsCheck(path, 900, lambda: 1_795_392_000.0)
    assert by_name(check.read(0.0)) == {
        "ucx.licence.remaining channels": pytest.approx(2 * DAY_S),
        "ucx.licence.utilization channels": 0.9,
        "ucx.telephony.token.authorised contoso": 0.0,
        "ucx.cluster.replication.state n2": 1.0,
    }
    with pytest.raises(OSError, match="nobody writes it"):
        FactsCheck(path, 900, lambda: 1_795_393_000.0).read(0.0)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"licenses": []}', '{"cluster": [{"node": "a", "replication": "blue"}]}', '{"tokens": 1}'],
)
def test_facts_that_are_not_as_described_fail_the_check(tmp_path: Path, text: str) -> None:
    """Strict: a misspelt member is a fault and not an absence."""
    path = tmp_path / "facts.json"
    path.write_text(text)
    with pytest.raises(OSError, match=r"facts\.json"):
        FactsCheck(path, 900, time.time).read(0.0)


# ---- clocks of the cluster ----------------------------------------------------------------------------


class TimeServer(threading.Thread):
    """Answers NTP on loopback as RFC 4330 says, with a clock that is ahead; or misbehaves."""

    def __init__(self, ahead_s: float, change: Callable[[bytearray], None] = lambda _: None) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._ahead_s = ahead_s
        self._change = change
        self.start()

    def run(self) -> None:
        asked, client = self._socket.recvfrom(512)
        assert (len(asked), asked[0]) == (48, 0x23), "version 4, a client"
        answer = bytearray(48)
        answer[0], answer[1] = 0x24, 2
        answer[24:32] = asked[40:48]
        stamp = int((time.time() + self._ahead_s + 2_208_988_800) * 2**32) % 2**64
        answer[32:40] = answer[40:48] = stamp.to_bytes(8, "big")
        self._change(answer)
        self._socket.sendto(answer, client)
        self._socket.close()


@pytest.mark.parametrize("ahead_s", [20.0, -3600.0, 0.0])
def test_a_node_whose_clock_differs_is_seen(ahead_s: float) -> None:
    """Node minus host, to a fraction of a second."""
    server = TimeServer(ahead_s)
    check = PeersCheck([PeerRule("n2", "127.0.0.1", server.port)], time.time)
    assert by_name(check.read(0.0)) == {"ucx.cluster.clock.offset n2": pytest.approx(ahead_s, abs=1)}


def _unsynchronised(answer: bytearray) -> None:
    answer[0] |= 0xC0


def _unasked(answer: bytearray) -> None:
    answer[24] ^= 1


@pytest.mark.parametrize("change", [_unsynchronised, _unasked, lambda a: a.__delitem__(slice(40, 48))])
def test_an_answer_that_is_none_gives_no_value(change: Callable[[bytearray], None]) -> None:
    """A node that does not know the time, an answer nobody asked for, a short one; nobody there."""
    rules = [PeerRule("bad", "127.0.0.1", TimeServer(5, change).port), PeerRule("gone", "127.0.0.1", 9)]
    assert list(PeersCheck(rules, time.time).read(0.0).values) == [None, None]


def test_time_goes_on_after_2036() -> None:
    """NTP's seconds begin anew then: the era that is near is meant."""
    now = 2_208_988_800.0 + 5  # 2040
    stamp = int((now + 20 + 2_208_988_800) * 2**32) % 2**64
    answer = bytes([0x24, 2]) + bytes(22) + b"m" * 8 + stamp.to_bytes(8, "big") * 2
    assert offset(answer, b"m" * 8, now, now) == pytest.approx(20)
