"""``ucx-agent run``: puts the parts together and keeps them going until told to stop.

Threads: this one measures and writes the spool; one ships; one (rarely more) runs the checks. Signals and
finished checks arrive through one queue, whose ``put`` is safe inside a signal handler.
"""

from __future__ import annotations

import logging
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue

from agent import VERSION, lastgood, status
from agent.address import fault_of_url
from agent.checks.own import OwnState
from agent.clock import Timekeeper
from agent.config import Config, ConfigError, load_config
from agent.identity import Identity, load_identity
from agent.keychain import Keychain
from agent.machine import fingerprint, is_another
from agent.measure import Measurer
from agent.options import Options
from agent.outbox import Outbox
from agent.proxy import choose as choose_proxy
from agent.runner import Runner
from agent.selection import make_checks, make_groups
from agent.shipper import Shipper
from agent.sources import Source, for_this_system
from agent.spool import Spool
from agent.transport import Transport
from wire.clock import Clock, utcnow

log = logging.getLogger("ucx.agent")

STOP, RELOAD, CHECKED, AGAIN = "stop", "reload", "checked", "again"
_HOUSEKEEPING_S = 60.0
_SHUTDOWN_S = 5.0


class BadAddress(ValueError):
    """The collector's address cannot be used; the message says why."""


class Agent:
    """One running agent. ``inbox`` takes STOP and RELOAD from anybody."""

    def __init__(self, options: Options, clock: Clock = utcnow) -> None:
        self.inbox: SimpleQueue[str] = SimpleQueue()
        self._options = options
        self._config, self._refused = lastgood.load(options, self._try_out)
        self._set_log_level()
        self._identity = load_identity(options.state_dir)
        self._source: Source = for_this_system()
        self._time = Timekeeper(clock)
        self._spool = _open_spool(options.state_dir, self._identity, self._config, self._time)
        self._time.resume(self._spool.get)
        self._stepped_ms = self._time.stepped_ms
        self._keychain = Keychain(
            options.state_dir,
            self._identity,
            lambda: self._config.key_days,
            lambda: self._time.stamp_ms() / 1000,
            lambda event_id, message: self._outbox.event(event_id, message),
        )
        self._shipper = Shipper(
            self._spool,
            make_transport(options, self._config, self._identity),
            self._keychain.tokens,
            self._time,
            longest_backoff_s=options.max_backoff_s or self._config.max_backoff,
            chore=self._keychain.tend,
        )
        self._outbox = Outbox(self._spool, self._time, self._ship_every_s(), self._shipper.wake)
        self._runner = Runner(lambda: self.inbox.put(CHECKED))
        self._measurer = self._make_measurer()
        self._next_housekeeping_s = 0.0
        self._again = False
        self._started_s = self._time.raw_s()
        self._told_delivery = False
        if not self._refused:
            lastgood.keep(options)

    def _try_out(self, config: Config) -> None:
        """What a configuration says of the way to the collector is used once, without asking."""
        make_transport(self._options, config, load_identity(self._options.state_dir))

    def _ship_every_s(self) -> float:
        """With an interval given by hand, each tick is sent at once (unless that is given too)."""
        options = self._options
        if options.ship_every_s is not None:
            return options.ship_every_s
        return 0.0 if options.interval_s is not None else self._config.ship_every

    def _make_measurer(self) -> Measurer:
        checks = make_checks(
            self._config,
            self._source,
            clock_offset_s=self._time.offset_s,
            own_state=self._own_state,
            emit=self._outbox.event,
            sink=self._spool,
            stamp=self._time,
            on_spooled=self._shipper.wake,
        )
        groups = make_groups(checks, self._config, self._identity.agent_id, self._options.interval_s)
        return Measurer(groups, self._runner, self._outbox.add, self._outbox.event, self._time.steady_ms)

    def _own_state(self) -> OwnState:
        total, counters = self._spool.total(), self._spool.counters
        return OwnState(
            total.bytes,
            total.batches,
            counters["frames_dropped"],
            counters["events_dropped"],
            counters["batches_refused"],
            counters["samples_refused"],
            self._measurer.check_health(),
        )

    def _set_log_level(self) -> None:
        logging.getLogger("ucx").setLevel((self._options.log_level or self._config.log_level).upper())

    # ---- life

    def run(self) -> bool:
        """Measure and deliver until STOP; True when another Agent goes on: the host was enrolled anew, or the
        spool's file can be used again."""
        shipping = threading.Thread(target=self._shipper.run, name="ucx-shipper", daemon=True)
        shipping.start()
        self._announce()
        try:
            while self._turn():
                pass
        finally:
            self._shut_down(shipping)
        return self._again and not self._asked_to_stop()

    def _asked_to_stop(self) -> bool:
        """While it ended for another reason."""
        try:
            while self.inbox.get_nowait() != STOP:
                pass
        except Empty:
            return False
        return True

    def _turn(self) -> bool:
        """One turn of the loop; False after STOP."""
        now = time.monotonic()
        wake_s = self._measurer.step(now)
        self._outbox.report_incidents()
        self._notice_clock()
        self._notice_delivery()
        if self._outbox.due_in_s() == 0.0:
            self._outbox.flush()
        if now >= self._next_housekeeping_s:
            self._next_housekeeping_s = now + _HOUSEKEEPING_S
            self._keep_house()
        return self._wait(min(wake_s, self._next_housekeeping_s, now + (self._outbox.due_in_s() or 3600.0)))

    def _notice_clock(self) -> None:
        """A setting of the host's clock is remembered at once: batches that wait are placed by it."""
        if self._time.stepped_ms != self._stepped_ms:
            log.warning("the host's clock was set by %d ms", self._time.stepped_ms - self._stepped_ms)
            self._stepped_ms = self._time.stepped_ms
            self._spool.remember(**self._time.state())

    def _notice_delivery(self) -> None:
        """The first one is told: whoever looks on knows now that it works."""
        if not self._told_delivery and self._shipper.condition.delivered:
            self._told_delivery = True
            log.info("the first readings were delivered; from now on only trouble is logged")
            self._write_status(stopped=False)

    def _wait(self, until_s: float) -> bool:
        try:
            message = self.inbox.get(timeout=max(0.0, until_s - time.monotonic()))
        except Empty:
            return True
        if message == RELOAD:
            self.reload()
        self._again = message == AGAIN
        return message not in (STOP, AGAIN)

    def _announce(self) -> None:
        boot = self._source.boot_id()
        known = self._spool.get("boot_id")
        if known and known != boot:
            self._outbox.event("host.boot", "The host has started anew since the agent last ran.")
        if known != boot:
            self._spool.remember(boot_id=boot)
        if is_another(self._identity.machine, fingerprint()):
            self._outbox.event("host.machine", "The agent's files were made on another machine.")
        facts = {"agent.version": VERSION, "os.type": sys.platform, "os.version": platform.release()[:200]}
        if self._refused:
            self._outbox.event("config.refused", f"The configuration is faulty: {self._refused}")
        self._outbox.event("agent.start", f"ucx-agent {VERSION} started.", facts)
        log.info("ucx-agent %s measures host '%s'", VERSION, self._identity.host)
        log.info("the first readings go out in about %.0f s; until then all is quiet", self._ship_every_s())

    def _keep_house(self) -> None:
        if self._time.offset_s() is not None:
            self._spool.expire(self._time.stamp_ms())
        if not self._keychain.look():
            log.info("this host was enrolled anew")
            self.inbox.put(AGAIN)
        elif self._spool.may_return():
            log.info("the spool's file can be used again")
            self.inbox.put(AGAIN)
        self._write_status(stopped=False)

    def _write_status(self, *, stopped: bool) -> None:
        condition, total = self._shipper.condition, self._spool.total()
        said = status.of(
            self._time,
            condition,
            total,
            self._spool.counters,
            stopped=stopped,
            renumbered=self._spool.renumbered,
            started_at=self._started_s,
        )
        status.write(self._options.state_dir, said)

    def reload(self) -> None:
        """Take a changed configuration; a faulty one is refused and reported, the last good one runs on."""
        try:
            config = load_config(self._options.config_file, required=self._options.config_given)
            transport = make_transport(self._options, config, self._identity)
        except (ConfigError, BadAddress, OSError) as fault:
            log.warning("the configuration is refused, the last good one runs on: %s", fault)
            self._outbox.event("config.refused", f"The changed configuration is faulty: {fault}")
            return
        self._config, self._refused = config, ""
        lastgood.keep(self._options)
        self._shipper.use(transport)
        self._outbox.ship_every_s = self._ship_every_s()
        self._measurer = self._make_measurer()
        self._set_log_level()
        log.info("the configuration was read anew")

    def _shut_down(self, shipping: threading.Thread) -> None:
        """Everything measured is in the spool before the process ends."""
        self._outbox.flush()
        self._outbox.event("agent.stop", "The agent was asked to stop.")
        if self._spool.in_memory_only:
            self._wait_for_delivery()
        self._shipper.stop()
        shipping.join(_SHUTDOWN_S)
        self._write_status(stopped=True)
        self._spool.close()
        log.info("stopped")

    def _wait_for_delivery(self) -> None:
        """What is in memory alone is lost at the end of the process: it gets a moment."""
        until = time.monotonic() + _SHUTDOWN_S
        while self._spool.total().batches and time.monotonic() < until:
            time.sleep(0.05)


def _open_spool(state: Path, identity: Identity, config: Config, timekeeper: Timekeeper) -> Spool:
    return Spool(
        state,
        identity.agent_id,
        max_bytes=int(config.spool_mb * 2**20),
        max_age_s=config.spool_days * 86_400,
        now_ms=timekeeper.steady_ms,
        predecessors=identity.predecessors,
    )


def collector_url(options: Options, config: Config, identity: Identity) -> str:
    """Command line before configuration before enrolment; raises BadAddress."""
    url = options.collector_url or config.collector_url or identity.collector_url
    fault = fault_of_url(url, insecure_http=options.insecure_http)
    if fault:
        raise BadAddress(f"The collector's address '{url}' {fault}.")
    return url


def make_transport(options: Options, config: Config, identity: Identity) -> Transport:
    """The connection that the options, the configuration and enrolment ask for."""
    url = collector_url(options, config, identity)
    proxy = choose_proxy(url, options.proxy or config.proxy)
    return Transport(url, options.ca_file or config.ca_file, proxy=proxy)


def listen_to_signals(put: Callable[[str], None]) -> None:
    """SIGTERM, Ctrl-C and Ctrl-Break stop, SIGHUP reads the configuration anew."""
    signal.signal(signal.SIGTERM, lambda *_: put(STOP))
    signal.signal(signal.SIGINT, lambda *_: put(STOP))
    if sys.platform == "win32":
        signal.signal(signal.SIGBREAK, lambda *_: put(STOP))
    else:
        signal.signal(signal.SIGHUP, lambda *_: put(RELOAD))


def run(options: Options) -> None:
    """The whole life of the agent's process."""
    again = True
    while again:
        agent = Agent(options)
        listen_to_signals(agent.inbox.put)
        again = agent.run()
