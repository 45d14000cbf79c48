"""What a transport of the outbox is: one function that sends a parcel, or says how it failed.

Undelivered
|- Later     not now: the server was away or busy; try again
`- Never     it never will: refused for good, no such address, no secret any more
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from ticketing.notify.letters import Message


class Undelivered(Exception):
    """Base: it could not be sent; the message says why."""


class Later(Undelivered):
    """Try again."""


class Never(Undelivered):
    """Do not try again."""


class Parcel(msgspec.Struct, frozen=True):
    """A letter that was claimed."""

    recipient: str
    message: Message
    message_id: UUID
    """The same at every attempt: the receiver tells doubles by it."""
    secret: str | None
    """For webhooks: what the payload is signed with."""
    at: datetime
    """Time of this attempt."""


class Transport(Protocol):
    """One way to send."""

    async def send(self, parcel: Parcel) -> None:
        """Send it. Raises Later or Never."""
