"""What only Windows has: service, access lists, performance counters, Event Log.

Each module is either pure (it runs and is tested everywhere) or touches pywin32 and begins with
``assert sys.platform == "win32"``: it is imported inside a ``sys.platform == "win32"`` branch only, and kept
so small that the decisions lie in the pure ones.

    pure     rights (who may touch our files), service, command (what is installed), lifecycle (its answers)
    pywin32  scm, acl, host, counters, eventlog, services
"""
