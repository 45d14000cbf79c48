"""The demo, put together: starts what is needed, makes the fault, tells what happens, stops everything.

Started here, each as a process of its own: ``ucx-proactive serve`` (with its PostgreSQL), the phone
simulator, ``ucx-agent``; and the customer's mail server, in this process. Everything they write lies in the
demo's directory, which each run begins afresh.
"""

from __future__ import annotations

import asyncio
import contextlib
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import msgspec
import yaml

from alerting.store import store_pack
from collector import enrolment, keys
from oncall.simulator.__main__ import DEMO_NUMBER, DEMO_SID, DEMO_TOKEN
from storage.account import reachable_dir
from storage.dirlock import DirectoryLock
from storage.faults import DirectoryInUse
from storage.pool import Pool, open_pool
from ticketing.registry_file import apply_file
from ucx_proactive.database import URL_FILE
from ucx_proactive.demo import customers, faults, rules
from ucx_proactive.demo.customers import Customer, Tongue
from ucx_proactive.demo.faults import Fault
from ucx_proactive.demo.look import Looker
from ucx_proactive.demo.mailbox import Mailbox
from ucx_proactive.demo.processes import DemoFailed, Process, free_port, wait_for
from ucx_proactive.demo.story import Facts, Timeline, calm, sentences, timeline
from wire.access import Role
from wire.clock import utcnow

MARK = "made-by-ucx-demo"
"""The file that marks a directory as the demo's own, to be wiped by the next run."""
BASELINE_S = 6.0
"""How long the healthy machine is watched before the fault."""
CALM_S = 30.0
"""Longest wait for a machine that is busy with something else to come to rest first."""
CHAIN_S = 170.0
"""Longest time from the fault to the end of the chain."""
HEALING_S = 60.0
"""How long the recovery is watched."""
TOLD_OF_CHARGE = 2
"""Mails that the customer has when its ticket was opened and taken in charge."""
RINGING = "the phone is ringing"
"""On-call's own words in its timeline."""
LOOK_S = 0.4
"""Between two looks at the collector's API."""
INTERVAL_S = "2"
"""Seconds between two readings of the agent (in production: 15)."""
TECHNICIANS = {"On-call technician 1": "+12025550101", "On-call technician 2": "+12025550102"}


class Wishes(msgspec.Struct, frozen=True):
    """What the user asked for."""

    customer: Customer
    fault: Fault | None
    directory: Path
    auto_answer: bool
    exit: bool
    priority: int = 1
    """What the demo's rule gives the fault: 1 (critical) to 4."""
    language: Tongue = Tongue.EN
    """Of the customer's contact."""

    @property
    def rings(self) -> bool:
        """Whether this customer's contract rings the technician for this priority."""
        return self.customer is Customer.PLATINUM and self.priority == 1


class Stage:
    """One run of the demo. ``say`` prints a line."""

    def __init__(self, wishes: Wishes, say: Callable[[str], None]) -> None:
        self._wishes = wishes
        self._say = say
        self._directory = wishes.directory
        self._logs = wishes.directory / "logs"
        self._platform_process = faults.PlatformProcess(wishes.directory)
        self._port = free_port()
        self._phones_port = free_port()
        self._agent: Process | None = None
        self._mailbox: Mailbox | None = None
        self._told: set[str] = set()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def phones(self) -> str:
        return f"http://127.0.0.1:{self._phones_port}"

    def run(self) -> Timeline:
        """The whole demo; returns the times that were measured. Raises DemoFailed."""
        with contextlib.ExitStack() as stack:
            stack.callback(begin_afresh(self._directory).release)
            self._logs.mkdir()
            return self._perform(stack)

    def _perform(self, stack: contextlib.ExitStack) -> Timeline:
        stack.callback(self._say, "everything that was started is stopped again")
        self._start_phones(stack)
        self._mailbox = stack.enter_context(Mailbox(self._directory / "mail", utcnow))
        collector = self._start_collector(stack)
        key, token = asyncio.run(self._prepare())
        self._start_agent(stack, token)
        rule = f"demo.{self._wishes.fault}" if self._wishes.fault else "demo.none"
        looker = stack.enter_context(Looker(self.address, key, self._tenant, rule, self._wishes.language))
        self._watch(looker, lambda facts: facts.first_sample_at is not None, 60, [collector])
        self._introduce(key)
        if self._wishes.fault is None:
            return self._idle(looker, collector)
        self._watch(looker, _never, BASELINE_S, [collector])
        if not calm(self._watch(looker, calm, CALM_S, [collector])):
            self._say("this machine is that busy without the fault: what is told now began before it")
        return self._make_fault(looker, collector, self._wishes.fault)

    # -- starting ---------------------------------------------------------------------------------

    def _start_phones(self, stack: contextlib.ExitStack) -> None:
        words = [sys.executable, "-m", "oncall.simulator", "--port", str(self._phones_port)]
        for name, number in TECHNICIANS.items():
            words += ["--phone", f"{name}={number}"]
        words += ["--journal", str(self._directory / "phones.jsonl")]
        words += ["--auto-answer"] if self._wishes.auto_answer else []
        phones = self._process(stack, "phones", words)
        wait_for("starting the phones", lambda: answers(self.phones + "/state"), phones)

    def _start_collector(self, stack: contextlib.ExitStack) -> Process:
        self._say("starting PostgreSQL and the collector (first a new database: some seconds)")
        config = self._directory / "collector.yaml"
        config.write_text(yaml.safe_dump(self._settings()), encoding="utf-8")
        words = [sys.executable, "-m", "ucx_proactive.main", "serve", "--config", str(config)]
        collector = self._process(stack, "collector", words)
        wait_for("starting the collector", lambda: answers(self.address + "/readyz"), collector)
        return collector

    def _settings(self) -> dict[str, object]:
        provider = {
            "name": "phones",
            "base_url": self.phones,
            "account_sid": DEMO_SID,
            "auth_token": DEMO_TOKEN,
            "from_number": DEMO_NUMBER,
        }
        return {
            "port": self._port,
            "data_dir": str(self._directory / "data"),
            "public_url": self.address,
            "alerting": {"sweep_interval_s": 2},
            "ticketing": {
                "smtp_host": "127.0.0.1",
                "smtp_port": self._mailbox.port if self._mailbox else 25,
                "smtp_security": "none",
                "mail_from": "support@ucx.example",
                "outbox_poll_s": 0.3,
            },
            "oncall": {"providers": [provider], "persons": ["technician-1", "technician-2"]},
        }

    async def _prepare(self) -> tuple[str, str]:
        """Customers, rules, a key for the API and a token for the agent: (key, token)."""
        url = (self._directory / "data" / URL_FILE).read_text(encoding="utf-8").strip()
        pool = await open_pool(url, max_size=1)
        try:
            return await self._fill(pool)
        finally:
            await pool.close()

    async def _fill(self, pool: Pool) -> tuple[str, str]:
        wishes = self._wishes
        registry = customers.registry(wishes.customer, wishes.language)
        async with pool.connection() as conn:
            await apply_file(conn, registry, now=utcnow(), actor="demo", origin="customers.yaml")
            if wishes.fault:
                pack = rules.pack(wishes.fault, self._directory, wishes.priority)
                await store_pack(conn, pack, "demo", "demo")
            _, key = await keys.create(
                conn, "demo", Role.ADMIN, tenant=None, deployment=None, by="demo", now=utcnow()
            )
            token, _ = await enrolment.issue_token(
                conn, self._tenant, "main", ttl=timedelta(hours=1), by="demo", now=utcnow()
            )
        return key, token

    @property
    def _tenant(self) -> str:
        return customers.tenant(self._wishes.customer)

    def _start_agent(self, stack: contextlib.ExitStack, token: str) -> None:
        self._platform_process.start()
        stack.callback(self._platform_process.stop)
        config = self._directory / "agent.yaml"
        config.write_text(yaml.safe_dump({"processes": [faults.PLATFORM_PROCESS]}), encoding="utf-8")
        program = [sys.executable, "-m", "agent.main", "--state-dir", str(self._directory / "agent")]
        program += ["--config", str(config)]
        enrol = [*program, "enrol", "--collector", self.address]
        self._finish_process(stack, "enrolment", enrol, {"UCX_ENROLMENT_TOKEN": token})
        run = [*program, "run", "--interval", INTERVAL_S, "--ship-every", "0.1", "--max-backoff", "5"]
        self._agent = self._process(stack, "agent", run)

    def _finish_process(
        self, stack: contextlib.ExitStack, name: str, words: list[str], env: dict[str, str]
    ) -> None:
        process = self._process(stack, name, words, env)
        while process.running:
            time.sleep(0.05)
        if process.code:
            raise DemoFailed(f"{name} failed:\n{process.last_words()}")

    def _process(
        self, stack: contextlib.ExitStack, name: str, words: list[str], env: dict[str, str] | None = None
    ) -> Process:
        process = Process(name, words, self._logs / f"{name}.log", env)
        stack.callback(process.stop)
        return process

    # -- telling ----------------------------------------------------------------------------------

    def _introduce(self, key: str) -> None:
        wishes = self._wishes
        name = customers.NAMES[wishes.customer]
        self._say(f"this machine ({platform.node()}) now plays a host of {name}, {wishes.customer}")
        self._say(f"the phones of the people on call:  {self.phones}")
        self._say(f"the collector's API:               {self.address}/openapi.json   key {key}")
        self._say(f"the mails that arrive:             {self._directory / 'mail'}")
        if wishes.fault:
            self._say(f"the demo's rules: {rules.explained(wishes.fault, wishes.priority)}")

    def _watch(
        self, looker: Looker, done: Callable[[Facts], bool], timeout_s: float, watched: list[Process]
    ) -> Facts:
        """Tell what happens until ``done`` or time is up; returns the last facts."""
        deadline = time.monotonic() + timeout_s
        while True:
            for process in watched:
                process.require_running()
            facts = self._facts(looker)
            self._tell(facts)
            if done(facts) or time.monotonic() > deadline:
                return facts
            time.sleep(LOOK_S)

    def _facts(self, looker: Looker) -> Facts:
        """What the API says, and what the mail server got."""
        mails = self._mailbox.mails if self._mailbox else ()
        return msgspec.structs.replace(looker.facts(), mails=mails)

    def _tell(self, facts: Facts) -> None:
        for told in sentences(facts):
            if told.key not in self._told:
                self._told.add(told.key)
                self._say(
                    f"{told.at.astimezone():%H:%M:%S}  {told.text}" if told.at else f"          {told.text}"
                )
                if told.text == RINGING and not self._wishes.auto_answer:
                    self._say(f"          -> open {self.phones}, press Answer, listen, then press 4")

    def _idle(self, looker: Looker, collector: Process) -> Timeline:
        self._say("nothing is wrong here. Try: --fault " + "|".join(Fault) + ".  Ctrl-C ends the demo.")
        facts = Facts()
        if self._wishes.exit:
            facts = self._facts(looker)
        else:
            self._watch(looker, _never, float("inf"), [collector])
        return timeline(facts, self._wishes.customer, "")

    def _make_fault(self, looker: Looker, collector: Process, fault: Fault) -> Timeline:
        assert self._agent is not None
        pid = self._agent.pid
        made = faults.make(
            fault, directory=self._directory, process=self._platform_process, agent_pid=lambda: pid
        )
        with made as what:
            self._say(f"FAULT: {what}")
            self._watch(looker, self._complete, CHAIN_S, [collector])
        self._say("the fault is undone")
        facts = self._facts(looker)
        if not self._complete(facts):
            raise DemoFailed(f"the chain did not end within {CHAIN_S:.0f} s; see {self._logs}")
        if not self._wishes.exit:
            self._watch(looker, lambda facts: facts.alert_state == "resolved", HEALING_S, [collector])
        return self._finish(looker, collector, fault)

    def _finish(self, looker: Looker, collector: Process, fault: Fault) -> Timeline:
        facts = self._facts(looker)
        self._tell(facts)
        times = timeline(facts, self._wishes.customer, fault)
        for line in report(times):
            self._say(line)
        if not self._wishes.exit:
            self._say("everything goes on running, look around; Ctrl-C ends the demo")
            with contextlib.suppress(KeyboardInterrupt):
                self._watch(looker, _never, float("inf"), [collector])
        return times

    def _complete(self, facts: Facts) -> bool:
        """Whether this customer's contract has had its full effect."""
        wishes = self._wishes
        if wishes.customer is Customer.BASIC:
            return facts.refused
        told = sum(mail.recipient == customers.address(wishes.customer) for mail in facts.mails)
        if wishes.rings:
            return (
                facts.acknowledged_at is not None and facts.ticket_taken_by != "" and told >= TOLD_OF_CHARGE
            )
        return facts.ticket_number is not None and told > 0


def default_directory(given: Path | None) -> Path:
    """Where the demo writes: as told, or ``.demo`` here - or where PostgreSQL's own account can reach."""
    return given.resolve() if given else reachable_dir(Path(".demo").resolve())


def _never(facts: Facts) -> bool:
    return False


def answers(url: str) -> bool:
    """Whether a GET of ``url`` says 200."""
    try:
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def begin_afresh(directory: Path) -> DirectoryLock:
    """An empty directory of ours, locked. Raises DemoFailed rather than delete what we did not make, or what
    a running demo uses."""
    mark = directory / MARK
    try:
        if directory.exists() and any(directory.iterdir()) and not mark.exists():
            raise DemoFailed(f"{directory} holds files that the demo did not make; name another --data-dir")
        directory.mkdir(parents=True, exist_ok=True)
        lock = DirectoryLock(mark)
        lock.take()
        for path in directory.iterdir():
            if path != mark:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    except DirectoryInUse:
        raise DemoFailed(f"a demo is running in {directory}: stop it, or name another --data-dir") from None
    except OSError as error:
        raise DemoFailed(f"{directory} cannot be used ({error.strerror}); name another --data-dir") from None
    return lock


def report(times: Timeline) -> Iterator[str]:
    """The measured timeline, one line an entry."""
    rows: list[tuple[str, datetime | None]] = [
        ("first reading stored", times.first_sample_at),
        ("threshold crossed", times.threshold_crossed_at),
        ("ticket opened", times.ticket_opened_at),
        ("phone ringing", times.ringing_at),
        ("taken in charge", times.acknowledged_at),
    ]
    yield ""
    for name, at in rows:
        if at is not None:
            yield f"  {name:22} {at.astimezone():%H:%M:%S.%f}"[:-3] + _since(times.threshold_crossed_at, at)
    if times.crossing_to_ringing_s is not None:
        yield f"  from crossing the threshold to ringing: {times.crossing_to_ringing_s:.1f} s"
    yield ""


def _since(start: datetime | None, at: datetime) -> str:
    if start is None or at < start:
        return ""
    return f"  {(at - start).total_seconds():+7.1f} s"
