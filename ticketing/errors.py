"""The room's own errors.

TicketingError
|- NotAllowed       the ticket's state does not allow this act; the message names the acts that it allows
|- NoSuchTicket     (or it belongs to another tenant)
|- Unexplained      an act that needs a person and a reason came without
|- Conflicting      the ticket has changed since the caller saw it
|- NotEntitled      no ticket under this contract; ``reasons`` says why
|- PolicyError      a release of the support policy cannot be used; ``faults`` lists everything wrong
|- ContractError    a contract document contradicts itself
|- CalendarError    a time or a target that the working calendar cannot serve
`- HistoryError     a ticket's history is wrong or out of order; the message names the event
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class TicketingError(Exception):
    """Base of the errors that the desk and the people's actions raise."""


class NotAllowed(TicketingError):
    """The ticket's state does not allow this act."""


class NoSuchTicket(TicketingError):
    """There is no such ticket for this caller."""


class Unexplained(TicketingError):
    """This act needs a person and a reason."""


class Conflicting(TicketingError):
    """The ticket has changed since the caller saw it."""


class NotEntitled(TicketingError):
    """There is no ticket under this contract."""

    def __init__(self, message: str, reasons: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(message)
        self.reasons = tuple(reasons)
        """The decision record: each with ``code``, ``text``, ``section``."""


class PolicyError(TicketingError):
    """A release of the support policy cannot be used."""


class ContractError(TicketingError):
    """A contract document contradicts itself."""


class CalendarError(TicketingError):
    """A time or a target that the working calendar cannot serve."""


class HistoryError(TicketingError):
    """A ticket's history is wrong or out of order."""
