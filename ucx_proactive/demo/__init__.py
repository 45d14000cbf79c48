"""The whole chain on this machine: ``ucx-proactive demo`` (``./dev demo`` in a checkout).

faults.py      makes the machine ill, for real, within bounds
customers.yaml three customers (Basic, Gold, Platinum) and the people on call
rules.py       the demo's rule pack: shorter durations, the shown fault at P1
processes.py   starting and stopping what the demo needs, by process id
story.py       what happened so far, told in plain words (pure)
stage.py       puts it all together
"""
