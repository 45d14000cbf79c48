"""How each phone behaves, and which faults the phone company commits. Set by ``POST /script``."""

from __future__ import annotations

import random
from enum import StrEnum
from typing import Annotated

import msgspec

from oncall.settings import is_e164


class Behaviour(StrEnum):
    """What happens when a number is called."""

    MANUAL = "manual"
    """Rings; a person on the web page (or a test) answers or not."""
    AUTO = "auto"
    """Picks up after ``after_s`` and presses ``key``."""
    SILENT = "silent"
    """A person picks up and presses nothing."""
    VOICEMAIL = "voicemail"
    BUSY = "busy"
    NO_ANSWER = "no-answer"
    WRONG_NUMBER = "wrong-number"
    """The call cannot be connected (status ``failed``)."""


class FaultKind(StrEnum):
    """Misbehaviour. The first group befalls the request that places a call, the second its callbacks."""

    ERROR = "5xx"
    """Answers 500, places nothing."""
    REFUSE = "refuse"
    """Answers 400, places nothing."""
    BUSY = "too-many"
    """Answers 429, places nothing."""
    TIMEOUT = "timeout"
    """Never answers, places nothing."""
    REPLY_LOST = "reply-lost"
    """Places the call and never answers."""
    SLOW = "slow"
    """Answers after ``s`` seconds."""
    NEVER_RINGS = "never-rings"
    """Answers 201 and leaves the call in its queue."""

    DUPLICATE = "duplicate-callbacks"
    """Every callback twice."""
    LATE = "late-callbacks"
    """Status callbacks ``s`` seconds late."""
    LOST = "lost-callbacks"
    """No status callback at all."""
    DISORDER = "disordered-callbacks"
    """All status callbacks after the call, the last one first."""
    FORGED = "forged-callbacks"
    """Beside each callback another one, with key 4, signed with a wrong key."""


ON_CALLBACKS = frozenset(
    {FaultKind.DUPLICATE, FaultKind.LATE, FaultKind.LOST, FaultKind.DISORDER, FaultKind.FORGED}
)
ON_REQUESTS = frozenset(FaultKind) - ON_CALLBACKS


class Phone(msgspec.Struct, forbid_unknown_fields=True):
    """One phone."""

    number: str
    name: str = ""
    behaviour: Behaviour = Behaviour.MANUAL
    after_s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 2.0
    """Rings so long before it picks up by itself."""
    key: Annotated[str, msgspec.Meta(pattern=r"^[0-9*#]{1,4}$")] = "4"
    """Pressed by ``auto``."""


class DueFault(msgspec.Struct, forbid_unknown_fields=True):
    """A fault that befalls the next calls."""

    kind: FaultKind
    number: str = "*"
    """Only calls to this number; ``*`` = any."""
    times: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 1.0
    """Seconds, for ``slow``, ``late-callbacks`` and how long ``timeout`` hangs."""


class Chaos(msgspec.Struct, forbid_unknown_fields=True):
    """Faults at random."""

    rate: Annotated[float, msgspec.Meta(ge=0, le=1)]
    kinds: tuple[FaultKind, ...] = (
        FaultKind.ERROR,
        FaultKind.TIMEOUT,
        FaultKind.REPLY_LOST,
        FaultKind.NEVER_RINGS,
    )
    seed: int = 0
    s: Annotated[float, msgspec.Meta(ge=0, le=600)] = 1.0


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /script``: what is given is set, what is not stays."""

    phones: list[Phone] = []
    default: Phone | None = None
    """How numbers behave that are not listed (``number`` is ignored)."""
    faults: list[DueFault] = []
    clear_faults: bool = False
    chaos: Chaos | None = None


class Script:
    """The present behaviour of everything."""

    def __init__(self, default: Phone) -> None:
        self.phones: dict[str, Phone] = {}
        self._default = default
        self._faults: list[DueFault] = []
        self._chaos: Chaos | None = None
        # Not for secrets: the same seed must bring the same faults again.
        self._random = random.Random(0)  # noqa: S311

    def change(self, change: Change) -> None:
        """Apply a ``POST /script``. Raises ValueError, changing nothing."""
        for phone in change.phones:
            if not is_e164(phone.number):
                raise ValueError(f"phones: {phone.number!r} is not E.164")
        if change.clear_faults:
            self._faults, self._chaos = [], None
        if change.default:
            self._default = change.default
        for phone in change.phones:
            old = self.phones.get(phone.number)
            self.phones[phone.number] = msgspec.structs.replace(
                phone, name=phone.name or (old.name if old else "")
            )
        self._faults += change.faults
        if change.chaos:
            self._chaos, self._random = change.chaos, random.Random(change.chaos.seed)  # noqa: S311

    def phone(self, number: str) -> Phone:
        """The phone of that number; an unknown one appears with the default behaviour."""
        if number not in self.phones:
            self.phones[number] = msgspec.structs.replace(self._default, number=number, name="")
        return self.phones[number]

    def faults(self, number: str) -> list[DueFault]:
        """The faults that befall this call; each is used up once."""
        due = [f for f in self._faults if f.number in ("*", number)]
        # At most one fault of requests, the first; all of callbacks.
        taken = [f for f in due if f.kind in ON_REQUESTS][:1] + [f for f in due if f.kind in ON_CALLBACKS]
        for fault in taken:
            fault.times -= 1
        self._faults = [f for f in self._faults if f.times > 0]
        chaos = self._chaos
        if not taken and chaos and self._random.random() < chaos.rate:
            taken = [DueFault(self._random.choice(chaos.kinds), number, 1, chaos.s)]
        return taken
