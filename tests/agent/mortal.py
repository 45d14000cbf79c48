"""Lives of an agent that end by SIGKILL at a chosen point, one after the other on one state directory.

    python -m tests.agent.mortal --state DIR --collector URL --journal FILE --lives 300 [--seed 1]

Each life is a process of its own (forked from this one, so that it costs milliseconds): it opens the real
spool, puts readings into it and delivers them through the real shipper, token and connection. A point lies
before and after each statement that the spool gives SQLite, and before and after each request. The journal
says "put" after the spool has taken a frame: from then on it must arrive, once. The last life is not killed
and drains.

Without fsync, which guards against power cuts: what a killed process has written, the kernel still has.

The test that compares journal and collector: tests/agent/test_mortal.py.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent import store
from agent.clock import Timekeeper
from agent.identity import load_key
from agent.shipper import Shipper
from agent.spool import Spool
from agent.token import TokenMaker
from agent.transport import Transport
from tests.agent.collector import AGENT
from tests.agent.kit import DIGEST, LAYOUT
from wire.batch import Event, Frame, Severity
from wire.clock import utcnow

PUTS = 4
_NEVER = 1 << 60


class Fate:
    """Counts points; at the fated one the process is killed as from outside: nothing is flushed or closed."""

    def __init__(self) -> None:
        self.points = 0
        self.end = _NEVER

    def point(self) -> None:
        self.points += 1
        if self.points >= self.end:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def fated(*arguments: Any, **named: Any) -> Any:
            self.point()
            result = act(*arguments, **named)
            self.point()
            return result

        return fated


FATE = Fate()


def live(state: Path, url: str, journal: Path, number: int, *, drain: bool) -> None:
    """One life: put, deliver, put, deliver; the last one delivers until nothing waits."""
    timekeeper = Timekeeper(utcnow)
    spool = Spool(state, AGENT, max_bytes=1 << 22, max_age_s=1e6, now_ms=timekeeper.steady_ms)
    transport = Transport(url)
    shipper = Shipper(
        spool, transport, TokenMaker(load_key(state), AGENT), timekeeper, longest_backoff_s=0.01
    )
    spool.put_layout(DIGEST, LAYOUT)
    for put in range(PUTS):
        name = float(number * PUTS + put)
        spool.put_frames([Frame(DIGEST, timekeeper.stamp_ms(), [name, None])], 0)
        _say(journal, f"frame {name:g}")
        if put % 2:
            now = timekeeper.stamp_ms()
            spool.put_events([Event(now, "test", f"{name:g}", Severity.INFO, "")], 0)
            _say(journal, f"event {name:g}")
        shipper.step()
        shipper.step()
    while drain and spool.total().batches:
        shipper.step()
    spool.close()
    transport.close()


def _say(journal: Path, line: str) -> None:
    """One write, so that a kill leaves a whole line or none."""
    with journal.open("ab", buffering=0) as file:
        file.write(line.encode() + b"\n")


def _fork(life: Callable[[], None]) -> tuple[int, int]:
    """Run a life in a process of its own: (exit status, its largest memory in KB)."""
    pid = os.fork()
    if pid == 0:
        try:
            life()
            os._exit(0)
        except BaseException as fault:
            sys.stderr.write(f"a life ended by {fault!r}\n")
            os._exit(3)
    _, status, usage = os.wait4(pid, 0)
    return status, usage.ru_maxrss


def main() -> int:
    arguments = _arguments()
    state, url, journal = arguments.state, arguments.collector, arguments.journal
    chance = random.Random(arguments.seed)
    setattr(store, "_PRAGMAS", (*store._PRAGMAS, "synchronous=OFF"))  # noqa: B010 - of another length
    store.Connection.execute = FATE.around(store.Connection.execute)  # type: ignore[method-assign]
    Transport.request = FATE.around(Transport.request)  # type: ignore[method-assign]
    killed = largest = 0
    for number in range(arguments.lives):
        FATE.end = 1 + chance.randrange(arguments.points)
        status, memory = _fork(lambda n=number: live(state, url, journal, n, drain=False))  # type: ignore[misc]
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            return 1
        killed += os.WIFSIGNALED(status)
        largest = max(largest, memory)
    FATE.end = _NEVER
    status, memory = _fork(lambda: live(state, url, journal, arguments.lives, drain=True))
    print(f"{arguments.lives} lives, {killed} killed, {max(largest, memory) / 1024:.0f} MB at most")
    return 0 if status == 0 and killed else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.agent.mortal")
    for name in ("--state", "--journal"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--collector", required=True)
    parser.add_argument("--lives", type=int, default=300)
    parser.add_argument("--points", type=int, default=320, help="points of a whole life, about")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
