"""Whom to kill, and when. The real design is killed at random; a broken twin where it is known to be broken.

A twin's fault shows in a window of a fraction of a second. Waiting for that window keeps a run short and its
outcome certain: what is tested is whether the books show the fault, not luck.
"""

from __future__ import annotations

import random
import time

import msgspec

from tests.kill.world import COLLECTORS, HOSTS, World

LONGEST_AIM_S = 10.0


class Aim(msgspec.Struct, frozen=True):
    """How one kind of run chooses."""

    victims: tuple[str, ...]
    at_once: int = 1
    """How many of them die together."""
    when: str | None = None
    """A question to the database: strike when it has an answer; None: at any time."""
    drain_s: float = 90.0
    """Longest time to come to rest after the last kill. A twin may have lost what it would wait for."""

    def strike(self, world: World, chance: random.Random) -> list[str]:
        """Kill; returns who died."""
        until = time.monotonic() + LONGEST_AIM_S
        while self.when and not world.query(self.when) and time.monotonic() < until:
            time.sleep(0.02)
        victims = chance.sample(self.victims, self.at_once)
        world.kill(*victims)
        return victims


ANYTHING = Aim((*HOSTS, *COLLECTORS, "postgresql"))
_PLACED_JUST_NOW = "SELECT 1 FROM page WHERE placed_at > now() - interval '1 second' LIMIT 1"
_HANDLED_WITHOUT_TICKET = """
SELECT 1 FROM desk_progress p JOIN alert a USING (tenant_id, alert_id)
 WHERE p.handled_seq > 0 AND a.fired_at IS NOT NULL AND a.rule_id = 'kill.load'
   AND NOT EXISTS (SELECT FROM ticket t WHERE t.alert_id = a.alert_id) LIMIT 1
"""
TWINS = {
    "acknowledge-before-commit": Aim((*COLLECTORS, "postgresql"), drain_s=12),
    "no-ledger": Aim((*HOSTS, *COLLECTORS), drain_s=25),
    "mark-before-call": Aim(COLLECTORS, at_once=2, when=_PLACED_JUST_NOW, drain_s=12),
    "no-host-lock": Aim(tuple(HOSTS), drain_s=8),
    "progress-apart": Aim(COLLECTORS, at_once=2, when=_HANDLED_WITHOUT_TICKET, drain_s=8),
}
