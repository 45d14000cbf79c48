"""What on-call counts (Prometheus, default registry)."""

from prometheus_client import Counter

CALLS = Counter("ucx_oncall_calls", "Provider requests to place a call, by outcome.", ["provider", "outcome"])
DOUBTS = Counter("ucx_oncall_doubts", "Calls that may have rung unseen; rung again.", ["provider"])
FOUND = Counter(
    "ucx_oncall_found", "Calls whose answer was lost, found in the provider's list.", ["provider"]
)
LOOPS = Counter("ucx_oncall_loops", "Times everybody was tried and nobody answered.")
ACKNOWLEDGED = Counter("ucx_oncall_acknowledgements", "Answers by a person, by channel.", ["channel"])
FORGED = Counter("ucx_oncall_refused_callbacks", "Callbacks without a valid signature.")
LOOK_FAILURES = Counter("ucx_oncall_look_failures", "Looks of the pager that raised.")
INBOUND = Counter("ucx_oncall_inbound", "Calls to the on-call line, by what became of them.", ["outcome"])
WRONG_PINS = Counter("ucx_oncall_wrong_pins", "Wrong PINs entered on the on-call line.")
