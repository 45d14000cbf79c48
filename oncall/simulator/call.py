"""What the exchange is made of: its one customer, the pace of time, a call and a message."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime
from typing import Any

import msgspec

from oncall.simulator.contract import FINAL, Order, rfc2822
from oncall.simulator.script import DueFault


class Account(msgspec.Struct, frozen=True):
    """The one customer of this phone company."""

    sid: str
    token: str
    numbers: frozenset[str]
    """Numbers it may call from."""


class Pace(msgspec.Struct, frozen=True):
    """How fast time passes on the line."""

    factor: float = 1.0
    """Multiplies every pause; 0.05 in tests."""
    per_character_s: float = 0.02
    """Speaking."""


class HungUp(Exception):
    """The line is gone."""


class Call:
    """One call. Only its own task and the exchange change it."""

    def __init__(self, sid: str, order: Order, faults: list[DueFault], now: datetime) -> None:
        self.sid = sid
        self.order = order
        self.faults = {fault.kind: fault for fault in faults}
        self.status = "queued"
        self.answered_by = ""
        self.created_at = now
        self.started_at: datetime | None = None
        self.ended_at: datetime | None = None
        self.picked_up: float | None = None
        self.sequence = 0
        self.lines: list[str] = []
        self.listening = False
        self.inbox: asyncio.Queue[str] = asyncio.Queue()
        self.held: list[Coroutine[Any, Any, None]] = []
        self.inbound = False
        """A phone rang one of the account's numbers, not the other way round."""
        self.keys: list[str] = []
        """What the caller will press, one entry for each time it is asked."""

    @property
    def number(self) -> str:
        """The phone at the other end."""
        return self.order.from_ if self.inbound else self.order.to

    @property
    def over(self) -> bool:
        return self.status in FINAL

    def public(self, account: Account) -> dict[str, Any]:
        """The call resource, as the documented API shows it."""
        uri = f"/2010-04-01/Accounts/{account.sid}/Calls/{self.sid}.json"
        started, ended = self.started_at, self.ended_at
        duration = str(int((ended - started).total_seconds())) if started and ended else None
        return {
            "sid": self.sid,
            "account_sid": account.sid,
            "api_version": "2010-04-01",
            "to": self.order.to,
            "to_formatted": self.order.to,
            "from": self.order.from_,
            "from_formatted": self.order.from_,
            "status": self.status,
            "direction": "inbound" if self.inbound else "outbound-api",
            "answered_by": self.answered_by or None,
            "date_created": rfc2822(self.created_at),
            "date_updated": rfc2822(ended or started or self.created_at),
            "start_time": rfc2822(started),
            "end_time": rfc2822(ended),
            "duration": duration,
            "price": None,
            "price_unit": "USD",
            "parent_call_sid": None,
            "phone_number_sid": None,
            "forwarded_from": None,
            "caller_name": None,
            "group_sid": None,
            "queue_time": "0",
            "trunk_sid": None,
            "uri": uri,
            "subresource_uris": {},
        }


class Message(msgspec.Struct, frozen=True):
    """An SMS, in either direction, as the phone shows it."""

    sid: str
    number: str
    """The phone's."""
    body: str
    ours: bool
    """Written by the phone's owner."""
