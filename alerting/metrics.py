"""What alerting counts (Prometheus, default registry)."""

from prometheus_client import Counter

TRANSITIONS = Counter("ucx_alert_transitions", "Transitions of alerts written, by the state reached.", ["to"])
LATE = Counter("ucx_alerting_late_inputs", "Frames and events stored without being judged at once.")
RULE_FAILURES = Counter("ucx_alerting_rule_failures", "Judgements in which a rule raised.", ["rule"])
UNREADABLE = Counter("ucx_alerting_unreadable_states", "Hosts whose stored state could not be read.")
REPLAYS = Counter("ucx_alerting_replays", "Gaps of hosts that were replayed.")
SWEEP_FAILURES = Counter("ucx_alerting_sweep_failures", "Jobs of the sweep that raised.", ["job"])
DOOR_CLOSED = Counter("ucx_alerting_front_door_closed", "Sweeps in which our front door was not proven open.")
PUSHES_REFUSED = Counter("ucx_alerting_pushes_refused", "Pushed alerts refused because too many were open.")
