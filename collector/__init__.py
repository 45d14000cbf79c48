"""The front door: enrolment, ingest and the query API.

Where to start reading: ``route`` (a request becomes a ``Pending``), ``queue`` (who is next), ``group``
(batches that arrive together share a commit), ``commit`` (the one ingest commit, whose order is the design).
"""
