"""The line to the collector: proxies, private authorities, connections that went away."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest

from agent.doctor import examine
from agent.finding import Level
from agent.options import Options
from agent.proxy import DIRECT, Proxy, choose, fault_of_proxy, parse
from agent.transport import NotTrusted, Transport, Unreachable
from tests.agent.collector import Collector, Handler, Ledger
from tests.agent.tls import Authority, ConnectProxy, secure

PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture(autouse=True)
def no_proxy_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXY_VARIABLES, "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def proxy() -> Iterator[ConnectProxy]:
    with ConnectProxy() as running:
        yield running


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def secured(authority: Authority) -> Iterator[str]:
    """Address of a collector behind TLS."""
    collector = Collector()
    url = secure(collector, authority.certificate())
    with collector:
        yield url


def test_https_goes_through_the_proxy_by_connect(
    proxy: ConnectProxy, authority: Authority, secured: str
) -> None:
    """The proxy sees host, port and its own credentials; TLS is with the collector. One connection serves
    several requests."""
    through = parse(proxy.url.replace("http://", "http://ada:s%40crit@"))
    transport = Transport(secured, authority.ca_file, proxy=through)
    for _ in range(3):
        assert transport.request("POST", "/v1/batches", b"", {}).status == 401
    transport.close()
    [(target, credentials)] = proxy.asked
    assert target == secured.removeprefix("https://")
    assert credentials == "Basic YWRhOnNAY3JpdA=="


def test_a_proxy_that_refuses_is_named(proxy: ConnectProxy, authority: Authority, secured: str) -> None:
    """407: the administrator learns which proxy it was."""
    proxy.refuse = 407
    transport = Transport(secured, authority.ca_file, proxy=parse(proxy.url))
    with pytest.raises(Unreachable, match=f"through the proxy {parse(proxy.url)}.*407"):
        transport.request("POST", "/v1/batches", b"", {})


def test_a_certificate_of_another_authority_is_not_trusted(tmp_path: Path, secured: str) -> None:
    """A TLS-inspecting proxy, as the agent meets it: nothing is sent."""
    other = Authority(tmp_path, "Other Root")
    with pytest.raises(NotTrusted, match="TLS"):
        Transport(secured, other.ca_file).request("POST", "/v1/batches", b"", {})


def test_doctor_names_who_issued_a_certificate_that_is_not_trusted(tmp_path: Path, secured: str) -> None:
    """So the administrator knows which box inspects the traffic."""
    other = Authority(tmp_path, "Other Root")
    options = Options(tmp_path, tmp_path / "none.yaml", False, secured, other.ca_file)
    [tls] = [finding for finding in examine(options) if finding.subject == "TLS"]
    assert tls.level is Level.PROBLEM
    assert "issued by 'Test Root'" in tls.what
    assert "exempt the collector" in tls.do


def test_doctor_goes_the_way_that_the_agent_goes(
    tmp_path: Path, proxy: ConnectProxy, authority: Authority, secured: str
) -> None:
    """Through the proxy, and a proxy that is not there is the problem that is told."""
    options = Options(tmp_path, tmp_path / "none.yaml", False, secured, authority.ca_file)
    findings = {f.subject: f for f in examine(options._replace(proxy=proxy.url))}
    assert findings["proxy"].level is Level.OK
    assert findings["collector"].level is Level.OK
    assert proxy.asked
    gone = {f.subject: f for f in examine(options._replace(proxy="http://127.0.0.1:9"))}
    assert gone["proxy"].level is Level.PROBLEM
    assert "collector" not in gone


def test_a_kept_connection_that_went_away_is_replaced(collector: Collector) -> None:
    """The collector (or a firewall) closes idle connections: no request fails for it."""
    transport = Transport(collector.url)
    assert transport.request("POST", "/v1/batches", b"", {}).status == 401
    assert transport._socket is not None
    transport._socket.shutdown(socket.SHUT_RDWR)
    assert transport.request("POST", "/v1/batches", b"", {}).status == 401
    transport.close()


def test_nothing_is_sent_into_a_connection_that_has_ended() -> None:
    """A collector closes idle connections: the next batch travels once, over a new one.

    Broken twin: without looking first, each request after a pause is sent twice."""
    answer = b"HTTP/1.1 401 x\r\nContent-Length: 0\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:
        transport = Transport(f"http://127.0.0.1:{server.getsockname()[1]}")
        asking = threading.Thread(target=transport.request, args=("POST", "/", b"", {}))
        asking.start()
        line, _ = server.accept()
        line.recv(65_536)
        line.sendall(answer)
        asking.join()
        assert transport._kept() is not None
        line.shutdown(socket.SHUT_WR)
        assert transport._socket is not None
        select.select([transport._socket], [], [], 10)
        assert transport._kept() is None
        assert line.recv(10) == b""
        line.close()
        transport.close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def test_which_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configuration before environment; NO_PROXY and loopback are asked directly; 'none' means none."""
    url = "https://collector.example.com"
    assert choose(url, None) is None
    assert choose(url, "http://[::1]:8080") == Proxy("::1", 8080)
    monkeypatch.setenv("HTTPS_PROXY", "http://system:3128")
    assert choose(url, None) == Proxy("system", 3128)
    assert choose(url, "http://chosen") == Proxy("chosen", 80)
    assert choose(url, DIRECT) is None
    assert choose("https://127.0.0.1:8443", None) is None
    monkeypatch.setenv("NO_PROXY", "example.com")
    assert choose(url, None) is None
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTPS_PROXY", "socks5://system:1080")
    assert choose(url, None) is None


@pytest.mark.parametrize(
    "text", ["proxy", "https://p", "http://", "http://p/path", "http://p:999999", "socks5://p", "http://p?x"]
)
def test_what_is_no_proxy_is_refused(text: str) -> None:
    """In the configuration and on the command line."""
    assert fault_of_proxy(text)


# ---- IPv6, and who answers in the collector's place ----------------------------------------------------


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_a_collector_named_by_an_ipv6_address(authority: Authority) -> None:
    """Directly, in the Host header, and through a proxy: always in brackets."""
    seen: list[str] = []

    class Six(Handler):
        def behave(self) -> None:
            seen.append(self.headers["Host"])
            super().behave()

    class SixCollector(Collector):
        address_family = socket.AF_INET6

        def __init__(self) -> None:
            ThreadingHTTPServer.__init__(self, ("::1", 0), Six)
            self.ledger = Ledger()

    with SixCollector() as collector, ConnectProxy() as proxy:
        port = collector.server_address[1]
        plain = Transport(f"http://[::1]:{port}")
        assert plain.request("POST", "/v1/batches", b"", {}).status == 401
        plain.close()
        assert seen == [f"[::1]:{port}"]
        through = Transport(f"https://[::1]:{port}", authority.ca_file, proxy=parse(proxy.url), total_s=2.0)
        with pytest.raises(Unreachable):  # there is no TLS behind it: what was asked of the proxy matters
            through.request("POST", "/v1/batches", b"", {})
        assert proxy.asked[0][0] == f"[::1]:{port}"


def test_a_name_whose_first_address_is_dead_is_reached_by_the_next(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dual stack: the IPv6 address is announced and does not answer."""
    port = collector.server_address[1]
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 9, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    transport = Transport(f"http://collector.test:{port}")
    assert transport.request("POST", "/v1/batches", b"", {}).status == 401
    transport.close()


def test_doctor_names_a_proxy_that_answers_in_the_collectors_place(
    tmp_path: Path, authority: Authority
) -> None:
    """Its certificate is trusted, as a company's inspecting proxy's is; the page is its own: the agent
    deletes nothing (tests/agent/test_shipper.py), and the administrator learns why nothing arrives."""

    class Inspecting(Handler):
        def behave(self) -> None:
            self.answer(200, b"<html>This site is categorised as: software</html>", "text/html")

    collector = Collector()
    collector.RequestHandlerClass = Inspecting
    url = secure(collector, authority.certificate())
    with collector:
        options = Options(tmp_path, tmp_path / "none.yaml", False, url, authority.ca_file)
        found = {finding.subject: finding for finding in examine(options)}
    assert found["collector"].level is Level.PROBLEM
    assert "text/html" in found["collector"].what
    assert "answers in its place: nothing is deleted" in found["collector"].do
