"""The whole chain on this machine: ``ucx-proactive demo`` (``./dev demo`` in a checkout).

faults.py      makes the machine ill, for real, within bounds
customers.yaml four customers (Basic, Basic in the cloud, Gold, Platinum) and the people on call
customers.py   the same, with the language that was asked for
mailbox.py     the customer's mail server: what arrives is kept, to be looked at
rules.py       the demo's rule pack: shorter durations, the shown fault at P1
processes.py   starting and stopping what the demo needs, by process id
story.py       what happened so far, told in plain words (pure)
stage.py       puts it all together
"""
