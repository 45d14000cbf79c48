"""``ucx-agent doctor``: looks at everything that an administrator can mend, and says how.

One small function per question, in the order in which they depend on each other; a question whose ground is
missing is skipped. Nothing here changes anything.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from agent import status, supervisor, whoami
from agent.asking import signed
from agent.checks.database import open_database
from agent.clock import Timekeeper
from agent.config import Config, ConfigError, load_config
from agent.databases import DatabaseFault, DatabaseRule
from agent.delivery import Reply, read_problem
from agent.finding import Finding, Level, ok, problem, warning
from agent.identity import Identity, IdentityError, load_identity, load_key
from agent.options import Options
from agent.preview import look
from agent.proxy import Proxy
from agent.proxy import choose as choose_proxy
from agent.run import BadAddress, collector_url
from agent.transport import NotTrusted, Transport, Unreachable, tls_context
from wire.clock import Clock, utcnow

_CONNECT_S = 5.0
_LOW_SPACE = 64 << 20


def examine(options: Options, clock: Clock = utcnow) -> Iterator[Finding]:
    """All findings, as they are made."""
    config = Config()
    try:
        config = load_config(options.config_file, required=options.config_given)
        there = options.config_file.exists()
        yield ok(
            "configuration",
            f"{options.config_file} is good" if there else f"no {options.config_file}: the defaults hold",
        )
    except ConfigError as fault:
        for one in fault.faults:
            yield problem(
                "configuration", str(one), "Correct this line; the agent refuses the file as a whole."
            )
    yield from _state(options.state_dir)
    identity = None
    try:
        identity = load_identity(options.state_dir)
        load_key(options.state_dir)
        yield ok("identity", f"host '{identity.host}' of {identity.tenant}/{identity.deployment}")
        yield from whoami.here(identity, status.read(options.state_dir))
    except IdentityError as fault:
        yield problem("identity", str(fault), "Ask the support team for an enrolment token, then enrol.")
    yield from _collector(options, config, identity, clock)
    yield from _agent(options.state_dir, clock)
    yield from supervisor.findings()
    yield from supervisor.site_logs(config.iis_logs)
    yield from _checks(config)


# ---- this host ----------------------------------------------------------------------------------------


def _state(state: Path) -> Iterator[Finding]:
    if not state.is_dir():
        yield problem(
            "state directory", f"{state} does not exist", "Enrol this host, or name it: --state-dir."
        )
        return
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        yield problem(
            "state directory", f"{state} cannot be written by this user", "Run as the agent's user."
        )
        return
    yield from supervisor.exposure(state)
    free = _free_bytes(state)
    if free is not None and free < _LOW_SPACE:
        yield problem(
            "spool", f"only {free >> 20} MB free below {state}", "Free space: readings may be lost."
        )
    damaged = sorted(state.glob("spool.db.corrupt-*"))
    if damaged:
        yield warning("spool", f"a damaged spool was set aside: {damaged[-1]}", "Check the disk's health.")
    yield ok("state directory", str(state))


def _free_bytes(state: Path) -> int | None:
    import shutil

    try:
        return shutil.disk_usage(state).free
    except OSError:
        return None


def _agent(state: Path, clock: Clock) -> Iterator[Finding]:
    said = status.read(state)
    if said is None:
        yield warning("agent", "it has not run here yet", f"Start it: {supervisor.START}")
        return
    if not status.is_running(said, clock().timestamp()):
        yield warning("agent", "it does not run now", f"Start it: {supervisor.START}")
    elif said.trouble:
        yield problem("delivery", said.trouble, "See the findings about the collector.")
    elif status.is_fresh(said, clock().timestamp()):
        yield ok("agent", "it has just started; the first readings go out after about a minute")
    else:
        yield ok("agent", f"it runs; {said.spool_batches} batches wait")
    if lost := said.counters.get("frames_dropped", 0) + said.counters.get("events_dropped", 0):
        yield warning("spool", f"{lost} readings were given up so far", "A larger spool: spool.max_mb.")


def _checks(config: Config) -> Iterator[Finding]:
    for result in look(config).results:
        if result.fault:
            yield problem(f"check {result.check}", result.fault, f"Mend it, or: disable: [{result.check}]")
        else:
            yield ok(f"check {result.check}", f"{(result.duration_s or 0) * 1000:.1f} ms")
    for rule in config.databases:
        yield from _database(rule)


def _database(rule: DatabaseRule) -> Iterator[Finding]:
    """The check itself only says "not online" or "not watched"; here stands why."""
    subject = f"database {rule.name}"
    database = open_database(rule)
    try:
        state = database.look()
    except DatabaseFault as fault:
        yield problem(subject, str(fault), fault.do)
        return
    finally:
        database.close()
    if state.online:
        yield ok(subject, f"answers in {(state.latency_s or 0) * 1000:.0f} ms")
    else:
        yield problem(subject, "it is not online", "Read the server's error log for the reason.")
    for one in state.missing:
        yield warning(subject, f"{one.what} cannot be seen: {one.why}", one.do)


# ---- the way to the collector -------------------------------------------------------------------------


def _collector(
    options: Options, config: Config, identity: Identity | None, clock: Clock
) -> Iterator[Finding]:
    nobody = identity or Identity("0" * 32, "", "", "", options.collector_url or config.collector_url or "")
    if not (options.collector_url or config.collector_url or nobody.collector_url):
        return
    try:
        url = collector_url(options, config, nobody)
    except BadAddress as fault:
        yield problem("collector", str(fault), "Correct collector_url.")
        return
    proxy = choose_proxy(url, options.proxy or config.proxy)
    for finding in _way(url, proxy, options.ca_file or config.ca_file):
        yield finding
        if finding.level is Level.PROBLEM:
            return
    yield from _talk(url, options, config, identity, clock, proxy)


def _way(url: str, proxy: Proxy | None, ca_file: Path | None) -> Iterator[Finding]:
    """To the collector itself, or to the proxy in front of it."""
    if proxy is None:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        yield from _reach(parts.hostname or "", port, parts.scheme == "https", ca_file)
        return
    try:
        socket.create_connection((proxy.host, proxy.port), _CONNECT_S).close()
    except OSError as fault:
        yield problem("proxy", f"{proxy}: {fault}", "Correct `proxy`, or HTTPS_PROXY; 'none' goes without.")
        return
    yield ok("proxy", f"{proxy} accepts connections")


def _reach(host: str, port: int, tls: bool, ca_file: Path | None) -> Iterator[Finding]:
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except OSError as fault:
        yield problem("name", f"{host} is not found: {fault}", "Check DNS, or the proxy settings.")
        return
    yield ok("name", f"{host} is {', '.join(sorted(addresses))}")
    try:
        connection = socket.create_connection((host, port), _CONNECT_S)
    except OSError as fault:
        yield problem("connection", f"{host}:{port}: {fault}", "Open the firewall for outgoing connections.")
        return
    with connection:
        yield ok("connection", f"{host}:{port} accepts connections")
        if tls:
            yield _handshake(connection, host, ca_file)


def _handshake(connection: socket.socket, host: str, ca_file: Path | None) -> Finding:
    address = connection.getpeername()
    try:
        with tls_context(ca_file).wrap_socket(connection, server_hostname=host) as secured:
            return ok("TLS", f"{secured.version()}, certificate trusted")
    except ssl.SSLCertVerificationError as fault:
        return _untrusted(f"{fault.verify_message}{issuer(address, host)}")
    except OSError as fault:
        return problem("TLS", str(fault), "Something between here and the collector breaks TLS.")


def _untrusted(why: str) -> Finding:
    return problem(
        "TLS",
        f"the certificate is not trusted: {why}",
        "If a proxy inspects TLS (the issuer tells), exempt the collector; for a private authority set"
        " ca_file. Until then nothing is sent and nothing is deleted.",
    )


def issuer(address: tuple[str, int], host: str) -> str:
    """Who issued the certificate that is shown there, as a remark; empty when it cannot be told."""
    from cryptography import x509

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(address[:2], _CONNECT_S) as line,
            context.wrap_socket(line, server_hostname=host) as secured,
        ):
            shown = secured.getpeercert(binary_form=True) or b""
        names = x509.load_der_x509_certificate(shown).issuer
    except (OSError, ValueError):
        return ""
    return f"; it was issued by '{', '.join(str(name.value) for name in names)[:200]}'"


def _talk(
    url: str,
    options: Options,
    config: Config,
    identity: Identity | None,
    clock: Clock,
    proxy: Proxy | None,
) -> Iterator[Finding]:
    """Send an empty batch: the answer proves collector, clock and credential."""
    timekeeper, key = Timekeeper(clock), None
    if identity is not None:
        with suppress(IdentityError):
            key = load_key(options.state_dir, identity.key)
    transport = Transport(url, options.ca_file or config.ca_file, proxy=proxy)
    ask = signed(transport, key, identity.agent_id if identity else "", timekeeper)
    try:
        reply = ask("POST", "/v1/batches", b"", {"UCX-Sent-At": str(timekeeper.stamp_ms())})
        yield from _answer(reply, known=key is not None)
        yield from _clock(timekeeper)
        if key is not None and reply.status not in (401, 429, 503) and read_problem(reply):
            yield from whoami.at_the_collector(ask)
    except NotTrusted as fault:
        yield _untrusted(str(fault))
    except Unreachable as fault:
        yield problem("collector", str(fault), "Is this the collector's address? Does a proxy interfere?")
    finally:
        transport.close()


def _answer(reply: Reply, *, known: bool) -> Iterator[Finding]:
    said = read_problem(reply)
    if said is None:
        yield problem(
            "collector",
            f"status {reply.status} ({reply.content_type or 'no type'}) is not the collector's answer",
            "A proxy or another server answers in its place: nothing is deleted, but nothing is delivered.",
        )
    elif reply.status == 401 and known:
        yield whoami.refused(reply)
    elif reply.status in (429, 503):
        yield warning("collector", f"it is busy: {said.detail}", "Nothing: the agent tries again by itself.")
    else:
        yield ok("collector", "it answers" + (" and accepts this host's credential" if known else ""))


def _clock(timekeeper: Timekeeper) -> Iterator[Finding]:
    offset = timekeeper.offset_s()
    if offset is None:
        return
    if abs(offset) > 30:
        yield warning("clock", f"it is {offset:+.0f} s off", "Switch on time synchronisation (NTP).")
    else:
        yield ok("clock", "it agrees with the collector's to a second or so")
