"""The web probe against a real web server over TLS: nginx from Debian."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.checks.probe import ProbeCheck, ProbeRule
from tests.agent.kit import by_name
from tests.agent.tls import Authority

pytestmark = pytest.mark.needs("nginx")
DAY_S = 86_400

_CONFIG = """
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log {folder}/error;
events {{ worker_connections 32; }}
http {{
  access_log off;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{port} ssl; ssl_certificate {good}; ssl_certificate_key {good};
    ssl_protocols TLSv1.2 TLSv1.3;
    location = / {{ default_type text/html; return 200 "<title>Sign in</title>"; }}
    location = /moved {{ return 302 https://127.0.0.1:{port}/; }}
    location = /broken {{ return 502; }}
  }}
  server {{
    listen 127.0.0.1:{old_port} ssl; ssl_certificate {old}; ssl_certificate_key {old};
    location = / {{ return 200 "Sign in"; }}
  }}
  server {{ listen 127.0.0.1:{plain_port}; location = / {{ return 200 "Sign in"; }} }}
}}
"""


class Nginx:
    """It runs in a folder of its own, as whoever runs the tests."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        good, old = self.authority.certificate(20), self.authority.certificate(-3)
        self.port, self.old_port, self.plain_port = free_ports(3)
        config = folder / "nginx.conf"
        ports = {"port": self.port, "old_port": self.old_port, "plain_port": self.plain_port}
        config.write_text(_CONFIG.format(folder=folder, good=good, old=old, **ports))
        self.process = subprocess.Popen(
            ["nginx", "-p", str(folder), "-c", str(config), "-e", f"{folder}/error"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._await(self.plain_port, folder / "error")

    def _await(self, port: int, errors: Path) -> None:
        end = time.monotonic() + 30
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"nginx did not start: {errors.read_text()}")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()


def free_ports(count: int) -> list[int]:
    lines = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(line.getsockname()[1]) for line in lines]
    for line in lines:
        line.close()
    return ports


@contextmanager
def running() -> Iterator[Nginx]:
    folder = Path(tempfile.mkdtemp(prefix="ucx-nginx-"))
    try:
        server = Nginx(folder)
        try:
            yield server
        finally:
            server.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def nginx() -> Iterator[Nginx]:
    with running() as server:
        yield server


def test_what_a_portal_behind_nginx_answers_is_seen(nginx: Nginx) -> None:
    """Text, a redirect that is not followed, a gateway's error; certificates good, expired, unknown."""
    ca, at = nginx.authority.ca_file, f"https://localhost:{nginx.port}"
    rules = [
        ProbeRule("portal", f"{at}/", "Sign in", ca_file=ca),
        ProbeRule("other", f"{at}/", "Welcome", ca_file=ca),
        ProbeRule("moved", f"{at}/moved", ca_file=ca),
        ProbeRule("wanted", f"{at}/moved", status=(301, 302), ca_file=ca),
        ProbeRule("broken", f"{at}/broken", ca_file=ca),
        ProbeRule("missing", f"{at}/nothing", ca_file=ca),
        ProbeRule("expired", f"https://localhost:{nginx.old_port}/", ca_file=ca),
        ProbeRule("stranger", f"{at}/"),
        ProbeRule("plain", f"http://localhost:{nginx.plain_port}/", "Sign in"),
        ProbeRule("mixed", f"https://localhost:{nginx.plain_port}/", ca_file=ca),
    ]
    values = by_name(ProbeCheck(rules, [], time.time).read(0.0))
    success = {rule.name for rule in rules if values[f"ucx.probe.success {rule.name}"]}
    assert success == {"portal", "wanted", "plain"}
    for name, days, trusted in (
        ("portal", 20, 1),
        ("broken", 20, 1),
        ("expired", -3, 0),
        ("stranger", 20, 0),
    ):
        assert values[f"ucx.certificate.remaining {name}"] == pytest.approx(days * DAY_S, abs=600)
        assert values[f"ucx.certificate.trusted {name}"] == trusted
    assert values["ucx.certificate.trusted mixed"] is None
    assert values["ucx.certificate.remaining mixed"] is None


def test_a_web_server_that_stops_and_comes_back_is_seen() -> None:
    """Down is 0, not a gap."""
    with running() as server:
        check = ProbeCheck([ProbeRule("p", f"http://127.0.0.1:{server.plain_port}/")], [], time.time)
        assert check.read(0.0).values[0] == 1
        server.close()
        assert check.read(60.0).values[0] == 0
