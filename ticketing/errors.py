"""The room's own errors.

    TicketingError
    |- NotAllowed       the ticket's state does not allow this act; the message names the acts that it allows
    |- NoSuchTicket     (or it belongs to another tenant)
    `- Unexplained      an act that needs a person and a reason came without
"""

from __future__ import annotations


class TicketingError(Exception):
    """Base of the errors that the desk and the people's actions raise."""


class NotAllowed(TicketingError):
    """The ticket's state does not allow this act."""


class NoSuchTicket(TicketingError):
    """There is no such ticket for this caller."""


class Unexplained(TicketingError):
    """This act needs a person and a reason."""
