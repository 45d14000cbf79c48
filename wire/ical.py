"""Calendars from strangers (RFC 5545): what is refused of them, and the process of its own that reads them.

Whoever reads a calendar, for windows of maintenance or for somebody's absences, starts here: the text is
bounded; rules finer than daily, lists of hours, minutes and seconds and EXRULE are refused (only an attacker
has a use for them); and the reading runs in a process of its own (``read_apart``), which is stopped when it
takes too long or too much memory: no check of rules foresees everything that a rule can do.

Nothing is parsed here, so that this package needs no calendar library: events are mappings as the reader's
own library gives them, and what is wrong comes as the end of a sentence that begins with the calendar.

    ReadingStopped   the process gave no answer; the message says why
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any, TypeVar

import msgspec

MAX_BYTES = 1_000_000
MAX_EVENTS = 2_000
TIME_LIMIT_S = 20.0
MEMORY_LIMIT_BYTES = 1 << 30
_COARSE = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_FINE = ("BYHOUR", "BYMINUTE", "BYSECOND")
_MOST_INTERVAL = 1000
TaskT = TypeVar("TaskT", bound=msgspec.Struct)
ResultT = TypeVar("ResultT", bound=msgspec.Struct)


class ReadingStopped(Exception):
    """The calendar takes more time or memory than it is given; the message says which."""


class RuleFault(StrEnum):
    """Why an event's way of recurring is refused."""

    EXRULE = "exrule"
    FINE = "fine"
    """More often than daily."""
    INTERVAL = "interval"
    """Not 1 .. 1000: 0 would never get on."""


# ---- the text ------------------------------------------------------------------------------------------


def out_of_bounds(text: str) -> str:
    """Why ``text`` is not even looked at; empty if it is."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        return f"is larger than {MAX_BYTES} bytes"
    if "\x00" in text or any("\ud800" <= c <= "\udfff" for c in text):
        return "holds characters that no text has"
    return ""


def cut_off(text: str) -> str:
    """That the end of ``text`` is missing; empty if it is there.

    Half a download would read as a calendar with fewer events: it would cancel windows, and put absent people
    on call."""
    whole = text.rstrip().upper().endswith("END:VCALENDAR")
    return "" if whole else "is cut off: END:VCALENDAR is missing"


# ---- its events ----------------------------------------------------------------------------------------


def too_many(events: list[Any]) -> str:
    """That there are more events than are read; empty if not."""
    return f"has more than {MAX_EVENTS} events" if len(events) > MAX_EVENTS else ""


def rules(event: Any) -> list[Any]:
    """An event's RRULEs, however many it has."""
    found = event.get("RRULE", [])
    return found if isinstance(found, list) else [found]


def rule_faults(event: Any) -> Iterator[RuleFault]:
    """What an event's rules are refused for."""
    if "EXRULE" in event:
        yield RuleFault.EXRULE
    for rule in rules(event):
        frequencies = [str(one).upper() for one in rule.get("FREQ", [])]
        if any(one not in _COARSE for one in frequencies) or any(part in rule for part in _FINE):
            yield RuleFault.FINE
        if any(not 1 <= int(one) <= _MOST_INTERVAL for one in rule.get("INTERVAL", [1])):
            yield RuleFault.INTERVAL


def cancelled(event: Any) -> bool:
    """Whether the event will not take place."""
    return str(event.get("STATUS", "")).upper() == "CANCELLED"


# ---- a process of its own ------------------------------------------------------------------------------


async def read_apart(
    module: str, task: msgspec.Struct, result: type[ResultT], time_limit_s: float
) -> ResultT:
    """What ``module``, run as a program that calls ``serve``, makes of ``task``. Raises ReadingStopped."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(msgspec.json.encode(task)), time_limit_s)
    except TimeoutError:
        raise ReadingStopped(f"takes longer than {time_limit_s:g} s to read") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    try:
        return msgspec.json.decode(output, type=result)
    except msgspec.DecodeError:
        raise ReadingStopped("needs more time or memory than it is given") from None


def serve(task: type[TaskT], work: Callable[[TaskT], msgspec.Struct]) -> None:
    """The process that ``read_apart`` starts: a task as JSON in, a result as JSON out."""
    _limit_ourselves()
    result = work(msgspec.json.decode(sys.stdin.buffer.read(), type=task))
    sys.stdout.buffer.write(msgspec.json.encode(result))


def _limit_ourselves() -> None:
    """Let the operating system stop us, where it can."""
    if sys.platform != "win32":
        import resource

        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_CPU, (int(TIME_LIMIT_S) + 5,) * 2)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES,) * 2)
