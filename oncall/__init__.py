"""On-call: who is reached, how, and until a person answers.

Start reading at ``page`` (what a page can become), ``paging`` (what the pager does next), ``pager`` (the
worker), ``api`` (what the phone company tells us).
"""
