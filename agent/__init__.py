"""What runs on a customer's host: checks measure, the spool keeps, the shipper delivers.

    checks -> runner (deadlines) -> assemble (layouts, frames) -> outbox -> spool -> shipper -> collector

Imports nothing of ours but ``wire``. Built to cost almost nothing: on Linux the checks read /proc directly,
elsewhere through psutil (``agent.sources``); whatever is not needed to measure is imported late.
"""

VERSION = "0.1.0"
