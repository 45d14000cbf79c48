"""Logs: a database that is away takes lines, not pages."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import psycopg
import pytest
from psycopg_pool import PoolTimeout

from ucx_proactive import logs


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    """Logging is the whole process's."""
    root, pool = logging.getLogger(), logging.getLogger("psycopg.pool")
    before = (root.handlers[:], root.level, pool.filters[:], pool.level)
    yield
    root.handlers[:], pool.filters[:] = before[0], before[2]
    root.setLevel(before[1])
    pool.setLevel(before[3])


def told(error: Exception, capsys: pytest.CaptureFixture[str]) -> str:
    """What the log says of an error that is logged with its traceback."""
    logs.set_up("info")
    try:
        fail(error)
    except Exception:
        logging.getLogger("test").exception("it goes on trying")
    return capsys.readouterr().err


def fail(error: Exception) -> None:
    """Raises it, as something below does."""
    raise error


@pytest.mark.parametrize(
    "error",
    [
        PoolTimeout("couldn't get a connection after 10.00 sec"),
        psycopg.OperationalError("connection refused\n\tIs the server running?"),
        psycopg.errors.AdminShutdown("terminating connection"),
    ],
    ids=["pool", "refused", "shutdown"],
)
def test_a_database_that_is_away_is_a_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """With the reason; seen failing with the plain formatter, which told the stack of every worker."""
    text = told(error, capsys)
    assert "Traceback" not in text
    assert str(error).splitlines()[0] in text


@pytest.mark.parametrize(
    "error", [ValueError("ours"), psycopg.errors.DeadlockDetected("theirs")], ids=["value", "deadlock"]
)
def test_every_other_error_keeps_its_traceback(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    """A fault of ours, and a lock that went wrong, are told with where they happened."""
    assert "Traceback" in told(error, capsys)


def test_a_pool_complains_once_a_minute_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """Its tries come many times a second; seen failing without the filter."""
    logs.set_up("info")
    pool = logging.getLogger("psycopg.pool")
    for second in (0.0, 0.3, 59.0, 61.0):
        record = pool.makeRecord(pool.name, logging.WARNING, "", 0, "no: %s\n\tmore", ("why",), None)
        record.created = second
        pool.handle(record)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("psycopg.pool ")[1] for line in lines] == ["no: why", "no: why (2 like it before)"]
