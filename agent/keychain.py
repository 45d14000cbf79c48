"""The running agent's keys: signs with the one in force, and sees to it that it is replaced in time.

``tend`` is a chore of the shipper, called on its thread after a batch was delivered: so the line works, and
one request is in flight at a time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from agent import rotation
from agent.identity import Identity, IdentityError, load_identity, load_key
from agent.rotation import Ask, RotationError
from agent.token import TokenMaker, new_run
from agent.transport import Unreachable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

log = logging.getLogger("ucx.keychain")

_EVERY_S = 60.0
_AFTER_FAILURE_S = 3600.0


class Keychain:
    """One per running agent."""

    def __init__(
        self,
        state: Path,
        identity: Identity,
        days: Callable[[], float],
        now_s: Callable[[], float],
        tell: Callable[[str, str], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._days = days
        self._now_s = now_s
        self._tell = tell
        self._monotonic = monotonic
        self._next_s = 0.0
        self.identity = identity
        self.tokens = TokenMaker(load_key(state, identity.key), identity.agent_id, new_run())
        self._load(identity)

    def _load(self, identity: Identity) -> None:
        """Sign by what agent.json says now. The others are tried when that is not accepted: the former key
        (the collector was restored), and the one that waits (in force there, the answer was lost)."""
        key = load_key(self._state, identity.key)
        self._former = self._other(identity.former_key)
        others = [self._former, self._other(identity.next_key)]
        self.identity = identity
        self.tokens.use(key, *(other for other in others if other is not None))

    def _other(self, name: str) -> Ed25519PrivateKey | None:
        try:
            return load_key(self._state, name) if name else None
        except IdentityError:
            log.debug("the key %s is gone", name)
            return None

    def look(self) -> bool:
        """Take over what a command has changed in agent.json; False = this is another agent now."""
        try:
            identity = load_identity(self._state)
            if identity.agent_id != self.identity.agent_id:
                return False
            if identity != self.identity:
                self._load(identity)
        except IdentityError as fault:
            log.warning("%s", fault)
        return True

    def tend(self, ask: Ask) -> None:
        """Replace the key when it is due; forget the former one when its overlap is over."""
        if self._monotonic() < self._next_s:
            return
        self._next_s = self._monotonic() + _EVERY_S
        try:
            self._tend(ask)
        except (RotationError, IdentityError, Unreachable, OSError) as fault:
            self._next_s = self._monotonic() + _AFTER_FAILURE_S
            log.warning("the key could not be replaced: %s", fault)

    def _tend(self, ask: Ask) -> None:
        if self._former is not None and self.tokens.key is self._former:
            self._load(rotation.fall_back(self._state))
        written_s = rotation.enrolled_s(self._state, self.identity)
        due = rotation.due(self.identity, written_s, self._now_s(), self._days())
        if due.retire:
            self._load(rotation.retire_key(self._state, self._now_s()))
        if due.replace:
            self._load(rotation.replace_key(self._state, ask))
            self._tell("agent.key", f"The agent's key was replaced: {due.why}.")
