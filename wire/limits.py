"""Bounds of the protocol. Both sides know them: the agent keeps them, the collector enforces them."""

MAX_BATCH_BYTES = 1_048_576
"""Largest batch, decompressed, in bytes."""
MAX_REQUEST_BYTES = 1_048_576
"""Largest request body as sent (compressed or not), in bytes."""
MAX_LAYOUT_BYTES = 131_072
"""Largest layout document, in bytes."""
MAX_SERIES_PER_LAYOUT = 200
"""Values in one frame; past about 245 PostgreSQL moves the array to TOAST (10 x the write CPU)."""
MAX_FRAMES_PER_BATCH = 1_000
"""Frames in one batch."""
MAX_EVENTS_PER_BATCH = 1_000
"""Events in one batch."""
MAX_TEXT = 8_192
"""Characters in an event's message."""
MAX_NAME = 255
"""Characters in a metric name, an attribute's name, an event source."""
MAX_ATTRIBUTE_VALUE = 512
"""Characters in an attribute's value."""
MAX_ATTRIBUTES = 32
"""Attributes on one series or event."""
MAX_FUTURE_S = 600
"""A sample stamped further ahead of the collector's clock than this is refused, in seconds."""
LEDGER_HORIZON_DAYS = 14
"""The ledger remembers batch keys this long; older samples are refused. Longer than any spool keeps."""
SPOOL_HORIZON_DAYS = 7
"""The agent drops frames older than this from its spool (and counts them)."""
MIN_TIME_MS = 946_684_800_000
"""2000-01-01 UTC: an earlier stamp comes from a host that does not know the time."""
MAX_TIME_MS = 4_102_444_800_000
"""2100-01-01 UTC."""
MAX_INT = 2**63 - 1
"""Largest epoch and seq: what a PostgreSQL bigint holds."""
MAX_INTERVAL_S = 86_400
"""Longest interval of a layout, in seconds."""
