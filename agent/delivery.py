"""What to send next, and what an answer means: pure decisions of the shipper.

Which batch (``choose``): what is fresh before what waited through an outage. Fresh events go first, as they
came; then the newest frames, when they are newer than the last ones sent fresh. Then up to ``burst`` old
batches trickle behind, events before frames, oldest first, then a pause. The burst doubles while all goes
well and halves when the collector says that it is busy.

What an answer means (``judge``): only a receipt that speaks of exactly these bytes lets a batch go. Anything
else - a proxy's page with status 200, a redirect, a receipt for other bytes - keeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import NamedTuple

import msgspec

from agent.store import MEMORY_IDS, Stored
from wire import problem as wire_problem
from wire.problem import FieldError
from wire.receipt import Outcome, Receipt, covers

MAX_BURST = 256
FIRST_BURST = 4
BREATHER_S = 5.0
"""Pause between two bursts of old batches when nothing fresh comes, in seconds."""
LONGEST_RETRY_AFTER_S = 900.0
"""A collector (or a proxy) may not silence us for longer than this."""
CREDENTIAL_RETRY_S = (60.0, 600.0)
"""Shortest and longest pause while the credential is not accepted, in seconds."""
HOLD_S = 300.0
"""A batch that is answered with a fault of its own waits this long; the others go on."""

PATIENT_FAILURES = 2
"""After so many failures in a row others are tried before a batch is tried again."""
BLAMED_FOR_GOOD = 3
"""So often a batch must fail right after another was delivered: then it is put aside."""
MOST_BLAMED = 1000
"""Batches of which that is remembered."""


# ---- answers ------------------------------------------------------------------------------------------


class Reply(NamedTuple):
    """An HTTP answer, its body read up to a bound."""

    status: int
    content_type: str
    retry_after: str
    date: str
    body: bytes
    complete: bool
    """False when the body was longer than the bound, and so was cut."""


class Delivered(NamedTuple):
    """Committed at the collector."""


class Refused(NamedTuple):
    """Will never be taken."""

    reason: str


class Renumber(NamedTuple):
    """The number is taken by other bytes."""

    reason: str


class NeedLayouts(NamedTuple):
    """The collector asks for layouts first."""

    digests: tuple[bytes, ...]


class Hold(NamedTuple):
    """This batch is at fault, without a receipt that says so for good: try the others."""

    reason: str


class Narrow(NamedTuple):
    """A layout has series that find no room: without them it is taken."""

    over: frozenset[int]
    """Their indexes."""
    reason: str


class Unaccepted(NamedTuple):
    """The collector does not accept our credential (now)."""

    reason: str


class Later(NamedTuple):
    """Nobody's fault that a retry cannot mend."""

    reason: str
    wait_s: float | None = None
    """What the answer asked for, bounded; None = our own backoff."""
    busy: bool = False


Verdict = Delivered | Refused | Renumber | NeedLayouts | Hold | Unaccepted | Later

_RECEIPT = msgspec.json.Decoder(Receipt)


class _Problem(msgspec.Struct):
    """The members of a problem+json that we read."""

    type: str = ""
    detail: str = ""
    layouts: list[str] = []
    over: list[int] = []
    """Indexes of series that a layout has too many."""
    errors: list[FieldError] = []


_PROBLEM = msgspec.json.Decoder(_Problem)


def judge(reply: Reply, batch: Stored, now_s: float) -> Verdict:
    """What the answer to a batch means; ``now_s`` = seconds since 1970 (for a Retry-After with a date)."""
    if reply.status == 200:
        return _judge_receipt(reply, batch)
    problem = read_problem(reply)
    if reply.status in (429, 503):
        return Later(_why(reply, problem), retry_after_s(reply.retry_after, now_s), busy=True)
    if problem is None:
        return Later(f"{reply.status} from something that is not the collector{_kind(reply)}")
    return _judge_problem(reply, problem)


def _judge_receipt(reply: Reply, batch: Stored) -> Verdict:
    try:
        receipt = _RECEIPT.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Later(f"a 200 that is no receipt{_kind(reply)}: a proxy answers in the collector's place?")
    if not reply.complete or not covers(
        receipt, agent=batch.agent, epoch=batch.epoch, seq=batch.seq, digest=batch.digest
    ):
        return Later("a receipt for something else than we sent")
    if receipt.outcome is Outcome.STORED:
        return Delivered()
    return (Refused if receipt.outcome is Outcome.REFUSED else Renumber)(receipt.reason[:500])


def _judge_problem(reply: Reply, problem: _Problem) -> Verdict:
    why = _why(reply, problem)
    if reply.status == 409 and problem.type.endswith(":unknown-layouts"):
        digests = _digests(problem.layouts)
        return NeedLayouts(digests) if digests else Hold(why)
    if reply.status == 401:
        return Unaccepted(why)
    if reply.status in (400, 409, 413, 415, 422) or problem.type.endswith(":other-agent"):
        return Hold(why)
    return Later(why)


def judge_layout(reply: Reply, now_s: float) -> Later | Hold | Narrow | None:
    """What the answer to a layout means; None: it was taken."""
    if 200 <= reply.status < 300:
        return None
    problem = read_problem(reply)
    if problem is not None and reply.status == 422 and problem.type.endswith(":too-many-series"):
        return Narrow(frozenset(problem.over), _why(reply, problem))
    if problem is not None and reply.status in (400, 409, 413, 422):
        return Hold(f"layout: {_why(reply, problem)}")
    wait_s = retry_after_s(reply.retry_after, now_s)
    return Later(f"layout: {reply.status}", wait_s, busy=reply.status in (429, 503))


def _digests(layouts: list[str]) -> tuple[bytes, ...]:
    found = []
    for text in layouts[:64]:
        try:
            found.append(bytes.fromhex(text))
        except ValueError:
            continue
    return tuple(digest for digest in found if len(digest) == 32)


def read_problem(reply: Reply) -> _Problem | None:
    """The problem+json in the answer; None when the collector did not write it."""
    if not reply.content_type.startswith(wire_problem.CONTENT_TYPE):
        return None
    try:
        return _PROBLEM.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def is_ours(reply: Reply) -> bool:
    """The answer is written as the collector writes: its Date can be believed."""
    if reply.status == 200:
        try:
            _RECEIPT.decode(reply.body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return False
        return True
    return read_problem(reply) is not None


def _why(reply: Reply, problem: _Problem | None) -> str:
    return f"{reply.status} {problem.detail[:300] if problem else _kind(reply)}".strip()


def _kind(reply: Reply) -> str:
    return f" ({reply.content_type[:60]})" if reply.content_type else ""


def retry_after_s(text: str, now_s: float) -> float | None:
    """Seconds that a Retry-After asks for, 0 .. ``LONGEST_RETRY_AFTER_S``; None when it says nothing."""
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), LONGEST_RETRY_AFTER_S)
    until = date_s(text)
    return None if until is None else min(max(0.0, until - now_s), LONGEST_RETRY_AFTER_S)


def date_s(text: str) -> float | None:
    """An HTTP date as seconds since 1970; None when it is none."""
    try:
        when = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return when.timestamp() if when.tzinfo is not None else None


# ---- pauses -------------------------------------------------------------------------------------------


def backoff_s(failures: int, longest_s: float, chance: Callable[[], float]) -> float:
    """Full jitter: anything between nothing and 1, 2, 4 ... seconds; ``chance`` gives 0 <= x < 1."""
    return chance() * min(longest_s, 2.0 ** min(failures, 30))


def credential_pause_s(failures: int, chance: Callable[[], float]) -> float:
    """Slow: a revoked credential is mended by a person, and many hosts may have been revoked together."""
    shortest, longest = CREDENTIAL_RETRY_S
    return min(longest, shortest * 2.0 ** min(failures, 10)) * (0.5 + chance() / 2)


def asked_pause_s(asked_s: float, chance: Callable[[], float]) -> float:
    """What was asked for and up to a tenth more (at least a second), so that not all come back at once."""
    return asked_s + chance() * max(1.0, asked_s / 10)


# ---- whose fault --------------------------------------------------------------------------------------


class Suspicion(Enum):
    """Why a batch does not get through, as far as can be told from here."""

    NONE = "it failed for the first time or two: tried again"
    PERHAPS_BATCH = "it fails again and again: perhaps another gets through"
    BATCH = "others get through, it does not"


def suspicion(failures: int, blamed: int) -> Suspicion:
    """Of a batch that has just failed. ``failures``: of any batches in a row before this one; ``blamed``: how
    often it failed right after another was delivered. While nothing gets through, no batch is to blame."""
    if failures == 0 and blamed >= BLAMED_FOR_GOOD:
        return Suspicion.BATCH
    return Suspicion.PERHAPS_BATCH if failures >= PATIENT_FAILURES else Suspicion.NONE


# ---- order --------------------------------------------------------------------------------------------


class Order(NamedTuple):
    """Where the shipper stands between fresh and old batches."""

    fresh_id: int = 0
    """The newest batch of the disk's that was sent as fresh."""
    fresh_memory_id: int = MEMORY_IDS - 1
    """The same of the memory's: ids of the two say nothing about which is newer."""
    burst: int = FIRST_BURST
    credit: int = FIRST_BURST
    """Old batches that may still be sent before the next pause."""


class Choice(NamedTuple):
    """What to send now; None = nothing, look again after ``wait_s`` (None = when something new comes)."""

    batch: Stored | None
    wait_s: float | None
    order: Order


def choose(
    order: Order,
    event: Stored | None,
    newest: Stored | None,
    oldest: Stored | None,
    old_event: Stored | None = None,
) -> Choice:
    """The next batch. ``event`` is the oldest of the fresh event batches, ``old_event`` the oldest of those
    that waited through an outage, ``newest`` and ``oldest`` are frame batches."""
    if event is not None:
        return Choice(event, None, order)
    if newest is not None and (ahead := _as_fresh(order, newest)) is not None:
        return Choice(newest, None, ahead._replace(credit=order.burst))
    waiting = old_event or oldest
    if waiting is None:
        return Choice(None, None, order._replace(credit=order.burst))
    if order.credit > 0:
        return Choice(waiting, None, order._replace(credit=order.credit - 1))
    wider = min(MAX_BURST, order.burst * 2)
    return Choice(None, BREATHER_S, order._replace(burst=wider, credit=wider))


def _as_fresh(order: Order, newest: Stored) -> Order | None:
    """The order after the newest batch was sent as fresh; None when it is not."""
    if newest.id >= MEMORY_IDS:
        return order._replace(fresh_memory_id=newest.id) if newest.id > order.fresh_memory_id else None
    return order._replace(fresh_id=newest.id) if newest.id > order.fresh_id else None


def slower(order: Order) -> Order:
    """After the collector said that it is busy."""
    burst = max(1, order.burst // 2)
    return order._replace(burst=burst, credit=min(order.credit, burst))
