"""What crosses the network between agent and collector, and the catalogue of metrics.

The only package that both sides share; it imports nothing of ours. Beside that stand the ways in for what
people write (``document``, ``ical``) and the way out to what they name (``destination``), which need no more
than the agent has anyway.
"""
