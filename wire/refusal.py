"""Why bytes were refused: pure statements about the bytes, true for ever.

Refusal
|- TooLarge        over a size or count that wire/limits.py states
|- Unreadable      not MessagePack, cut off, nested without end, text that is not UTF-8 or holds NUL
|- UnknownVersion  a version of the protocol that this side does not speak
|- WrongShape      a field is missing, surplus or of another type
|- OutOfRange      a number, a time or a name outside what is legal
|- NotFinite       NaN or an infinity; missing values are nil
|- Repeated        the same thing stated twice
`- NotCanonical    a layout that is not written the one way that its hash is taken of
"""

from __future__ import annotations


class Refusal(ValueError):
    """Base of all refusals of bytes: ``field`` is where, ``reason`` what is wrong and what would be right."""

    def __init__(self, reason: str, field: str = "body") -> None:
        super().__init__(f"{field}: {reason}")
        self.reason = reason
        self.field = field


class TooLarge(Refusal):
    pass


class Unreadable(Refusal):
    pass


class UnknownVersion(Refusal):
    pass


class WrongShape(Refusal):
    pass


class OutOfRange(Refusal):
    pass


class NotFinite(Refusal):
    pass


class Repeated(Refusal):
    pass


class NotCanonical(Refusal):
    pass
