"""A phone company in one small program, for the demo and for tests.

It speaks the provider's protocol strictly: refuses what the documented API would refuse, fetches our
instructions, signs its callbacks - and misbehaves by script. People see it as a web page full of phones.

    contract      what the provider accepts and answers (pure)
    instructions  TwiML, read strictly (pure)
    script        how each phone behaves, which faults are due
    call          a call, a message, the account
    exchange      calls and their lives
    journal       what really happened, on disk before it is answered
    web           HTTP: the provider's API, the control API, the page
"""
