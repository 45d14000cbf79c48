"""What alerting counts (Prometheus, default registry)."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import Counter
from psycopg_pool import PoolTimeout

log = logging.getLogger(__name__)
TRANSITIONS = Counter("ucx_alert_transitions", "Transitions of alerts written, by the state reached.", ["to"])
LATE = Counter("ucx_alerting_late_inputs", "Frames and events stored without being judged at once.")
RULE_FAILURES = Counter("ucx_alerting_rule_failures", "Judgements in which a rule raised.", ["rule"])
UNREADABLE = Counter("ucx_alerting_unreadable_states", "Hosts whose stored state could not be read.")
REPLAYS = Counter("ucx_alerting_replays", "Gaps of hosts that were replayed.")
SWEEP_FAILURES = Counter("ucx_alerting_sweep_failures", "Jobs of the sweep that raised.", ["job"])
DOOR_CLOSED = Counter("ucx_alerting_front_door_closed", "Sweeps in which our front door was not proven open.")
PUSHES_REFUSED = Counter("ucx_alerting_pushes_refused", "Pushed alerts refused because too many were open.")


@contextmanager
def apart(job: str, piece: str) -> Iterator[None]:
    """One piece of a sweep's job: its failure is counted and logged, and keeps no other from being done.

    Without a connection to be had the job ends: each of the others would wait for one in vain."""
    try:
        yield
    except PoolTimeout:
        raise
    except Exception:
        SWEEP_FAILURES.labels(job).inc()
        log.exception("sweep: %s of %s failed; it is tried again at the next sweep", job, piece)
