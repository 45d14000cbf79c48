"""The kill driver: real processes, killed at random, and an oracle that was told the truth first.

    python -m tests.kill --cycles 100 --seed 7 --json

Each cycle kills one of: a scripted host (the real spool and the real shipper around scripted readings), a
collector (``ucx-proactive serve``: ingest, rules, desk and pager in one process), or PostgreSQL (immediate
mode, which is a crash). Afterwards everything is left in peace until it has drained, and the books are
compared:

    oracle        what each host was told is stored (written and fsynced *before* its spool forgets it),
                  and what each host had durably spooled
    database      frames, events, alerts, tickets, pages, acknowledgements
    phone journal what the phone simulator was asked to ring, and which keys were pressed (fsynced)

Beside that, the driver opens tickets whose steps are long due and spoils one customer's record, and looks at
what the two desks made of it (``tests/kill/desk.py``).

The broken twins (``tests/kill/twins.py``) break the design on purpose; the driver must notice each.
"""
