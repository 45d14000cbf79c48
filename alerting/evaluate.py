"""Alerting's face towards the ingest commit. In one transaction, in this order:

1. ``lock_hosts``; if a state's ``pack_version`` is above ``evaluator.version``, ``load_evaluator`` anew;
2. ``evaluate`` per host, its frames in time order (pure; no I/O);
3. ``save_outcomes``, for healthy hosts too.

``held_hosts`` says afterwards whose lock was not to be had.
"""

from alerting.evaluator import Evaluator
from alerting.inputs import EventInput, FrameInput, HostKey, HostScope, HostState, Outcome
from alerting.judge import evaluate
from alerting.rulebook import load_evaluator
from alerting.store import held_hosts, lock_hosts, save_outcomes

__all__ = [
    "Evaluator",
    "EventInput",
    "FrameInput",
    "HostKey",
    "HostScope",
    "HostState",
    "Outcome",
    "evaluate",
    "held_hosts",
    "load_evaluator",
    "lock_hosts",
    "save_outcomes",
]
