"""The room's errors.

AlertingError
|- BadCalendar       a calendar of maintenance windows cannot be used; names every fault
|- PackError         a rule pack, an override or a rule test cannot be accepted; names every fault
`- StateError        stored evaluation state cannot be read (written by a newer release?)
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class AlertingError(Exception):
    """Base of this room's errors; the message says what to do."""


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong in a document."""

    line: int
    """Line in the document, from 1; 0 where the fault belongs to the whole."""
    field: str
    """Path of the field, as in ``rules[3].levels[0].when``."""
    message: str
    """What is wrong and what would be right."""

    def __str__(self) -> str:
        return f"line {self.line}: {self.field}: {self.message}"


class BadCalendar(AlertingError):
    """The calendar cannot be used: every fault as (event, what is wrong)."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(f"{event}: {message}" for event, message in self.faults))


class PackError(AlertingError):
    """A document with faults: all of them, in document order."""

    def __init__(self, name: str, faults: Sequence[Fault]) -> None:
        self.name = name
        self.faults = tuple(faults)
        listed = "\n".join(f"{name}:{fault}" for fault in self.faults)
        super().__init__(f"{len(self.faults)} fault(s) in {name}:\n{listed}")


class StateError(AlertingError):
    """Stored state that this release cannot read."""
