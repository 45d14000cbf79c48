"""Compares the books: what was promised (oracle, phone journal) with what the database holds. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

Record = Mapping[str, Any]


class Ledger(msgspec.Struct):
    """What the hosts' journals say. Frames are (host, ms); events are unique ids."""

    spooled_frames: set[tuple[str, int]] = msgspec.field(default_factory=set)
    stored_frames: set[tuple[str, int]] = msgspec.field(default_factory=set)
    spooled_events: set[str] = msgspec.field(default_factory=set)
    stored_events: set[str] = msgspec.field(default_factory=set)
    receipts: int = 0
    """Batches that a receipt called stored."""


class Page(msgspec.Struct, frozen=True):
    """A page as the database has it."""

    ticket: str
    """Number."""
    call: str
    """Id of the page whose call it is read out in (its own, unless several tickets share one call)."""
    placed: bool
    """We recorded that the provider took the call."""


class Books(msgspec.Struct):
    """What the database holds."""

    frames: Counter[tuple[str, int]]
    events: Counter[str]
    tickets: dict[str, str]
    """Ticket number -> its problem's instance."""
    pages: dict[str, Page]
    """By page id."""
    acknowledged: set[str]
    """Ids of pages that were acknowledged."""
    gaps: int
    """Alerts whose transitions are not numbered 1, 2, 3 ..."""


class Phones(msgspec.Struct):
    """What the phone company did."""

    placed: set[str] = msgspec.field(default_factory=set)
    """Page ids for which a call was accepted."""
    rang: set[str] = msgspec.field(default_factory=set)
    """Page ids whose phone rang."""
    answered: set[str] = msgspec.field(default_factory=set)
    """Page ids whose key 4 we answered with success."""
    calls: int = 0


class Result(msgspec.Struct):
    """What one run shows. Everything from ``lost`` to ``misdone`` but the counts must be 0."""

    cycles: int
    seed: int
    acknowledged: int
    """Batches with a receipt."""
    samples: int
    """Frames that had to arrive."""
    lost: int
    doubled: int
    tickets: int
    episodes: int
    unpaged: int
    unacknowledged: int
    gaps: int
    escalations: int
    """Steps of the matrix that were due on seeded tickets and were taken."""
    misdone: int
    """Faults of the desk: a step missing or doubled, a history out of order, an end that was missed, a page
    that was never asked for, a wrong item parked or the poisoned one not."""
    races: int
    """Pairs sent through two collectors at once."""
    calls: int
    """Calls placed; more than tickets means that a phone rang again in doubt, which may be."""
    kills: dict[str, int]
    seconds: float
    faults: list[str]
    """What is wrong, in words; empty = nothing."""


def ledger(journals: Mapping[str, Iterable[Record]]) -> Ledger:
    """Sum up the hosts' journals."""
    book = Ledger()
    for host, records in journals.items():
        for record in records:
            frames = {(host, time_ms) for time_ms in record["frames"]}
            if record["kind"] == "stored":
                book.receipts += 1
                book.stored_frames |= frames
                book.stored_events |= set(record["events"])
            else:
                book.spooled_frames |= frames
                book.spooled_events |= set(record["events"])
    return book


def delivered(ledger: Ledger) -> bool:
    """Whether everything that was spooled has its receipt."""
    return ledger.spooled_frames <= ledger.stored_frames and ledger.spooled_events <= ledger.stored_events


def phones(records: Iterable[Record]) -> Phones:
    """Sum up the phone company's journal."""
    book, page_of = Phones(), {}
    for record in records:
        kind = record["kind"]
        if kind == "placed":
            book.calls += 1
            page_of[record["sid"]] = page_in(record["url"])
            book.placed.add(page_of[record["sid"]])
        elif kind == "status" and record["status"] == "ringing":
            book.rang.add(page_of[record["sid"]])
        elif _is_answered_key(record):
            book.answered.add(page_in(record["url"]))
    return book


def _is_answered_key(record: Record) -> bool:
    return (
        record["kind"] == "callback"
        and record.get("answered") == 200
        and not record["forged"]
        and record["fields"].get("Digits") == "4"
    )


def page_in(url: str) -> str:
    """The page's id in one of our callback addresses: .../voice/{tenant}/{page}/{action}."""
    return url.split("?")[0].split("/")[-2]


def faults(ledger: Ledger, books: Books, phones: Phones, episodes: set[str]) -> dict[str, list[str]]:
    """Everything that is wrong, by kind."""
    must_frames = ledger.spooled_frames | ledger.stored_frames
    must_events = ledger.spooled_events | ledger.stored_events
    rung = {page.ticket for page in books.pages.values() if page.call in phones.rang}
    sure = {page.call for page in books.pages.values() if page.placed}
    return {
        "lost": [f"frame {key}" for key in sorted(must_frames - books.frames.keys())]
        + [f"event {uid}" for uid in sorted(must_events - books.events.keys())],
        "doubled": [f"frame {key} x {n}" for key, n in books.frames.items() if n > 1]
        + [f"event {uid} x {n}" for uid, n in books.events.items() if n > 1],
        "tickets": [f"ticket for {what}" for what in _differences(books.tickets, episodes)],
        "unpaged": [f"{number} rang nobody" for number in sorted(books.tickets.keys() - rung)]
        + [
            f"page {page} is said to be placed, the phone company has no such call"
            for page in sorted(sure - phones.placed)
        ],
        "unacknowledged": [f"page {page}" for page in sorted(phones.answered - books.acknowledged)],
        "gaps": [f"{books.gaps} alerts with gaps between their transitions"] if books.gaps else [],
    }


def _differences(tickets: Mapping[str, str], episodes: set[str]) -> Iterable[str]:
    found = Counter(tickets.values())
    yield from (f"{what}: none" for what in sorted(episodes - found.keys()))
    yield from (f"{what}: nothing was wrong there" for what in sorted(found.keys() - episodes))
    yield from (f"{what}: {n} of them" for what, n in sorted(found.items()) if n > 1)
