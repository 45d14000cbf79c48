"""What measurements mean: rules, their evaluation inside the ingest commit, and the alerts they lead to.

Start reading at ``rule.py`` (what a rule is), then ``machine.py`` (how an alert lives) and ``evaluate.py``
(what the collector calls).
"""
