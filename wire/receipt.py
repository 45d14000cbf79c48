"""Receipts: the collector's word on one batch, and the only thing that lets an agent forget it.

JSON. ``stored``: committed to disk (now or earlier). ``refused``: will never be accepted, for the reason
given; the agent may drop it, and counts it. ``renumber``: this key is taken by other bytes (a reverted or
cloned machine): send the same content again under a new number. Anything else - a bare 200, a proxy's page,
a receipt for other bytes - is no receipt.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Outcome(StrEnum):
    STORED = "stored"
    REFUSED = "refused"
    RENUMBER = "renumber"


class Receipt(msgspec.Struct, frozen=True):
    """The answer to one batch."""

    agent: str
    epoch: int
    seq: int
    digest: str
    """64 hex digits: SHA-256 of the bytes that this receipt speaks of."""
    outcome: Outcome
    reason: str = ""
    """For ``refused`` and ``renumber``: what is wrong, with the field's path."""


def covers(receipt: Receipt, *, agent: str, epoch: int, seq: int, digest: str) -> bool:
    """True when the receipt speaks of exactly this batch and these bytes."""
    return (receipt.agent, receipt.epoch, receipt.seq, receipt.digest) == (agent, epoch, seq, digest)
