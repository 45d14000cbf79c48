"""The auditor: a second pair of eyes on on-call, in a process of its own and on a path of its own.

It imports neither the pager nor anything that the pager decides with, starts from alerts instead of page
requests, rings through another provider with instructions inside the request (our web server may be down),
and keeps what it needs in files, because the database may be down.

    finding    what may be wrong, with keys and reasons (pure)
    audit      what to do about it: ring, ask, wait (pure)
    sight      what the database shows (SQL, read-only)
    files      journal, state, numbers: on disk, atomically
    phone      one provider account: place a call, ask what became of it
    listener   hears key 4, if the provider can reach us
    program    the loop around all of it
"""
