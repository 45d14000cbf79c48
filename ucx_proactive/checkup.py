"""What ``doctor`` looks at. It only reads: our own database is joined when it runs, never started."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg

from storage.jobs import FAILING_FOR_S, FAILURES_TO_ALARM, Job
from storage.migrate import MigrationError
from storage.migrate import plan as migration_plan
from storage.partition import partition_name
from ucx_proactive.database import URL_FILE
from ucx_proactive.settings import Rooms, Settings
from wire.clock import utcnow

LOW_DISK_BYTES = 2 * 1024**3
LARGEST_DRIFT = timedelta(seconds=5)


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at."""

    well: bool
    what: str
    words: str
    """What was found and, when it is not well, what to do."""


def examine(settings: Settings, rooms: Rooms) -> Iterator[Finding]:
    """All findings about an installation with these settings."""
    yield from _disk(settings)
    yield _telephone(rooms)
    yield from _secrets(rooms)
    url = _database_url(settings)
    if url is None:
        yield Finding(
            False, "database", f"nobody runs it: start 'ucx-proactive serve' on {settings.data_dir}"
        )
    else:
        yield from _database(url)
    yield _server(settings.url())


def _disk(settings: Settings) -> Iterator[Finding]:
    if settings.database_url is not None:
        return
    place = next(path for path in (settings.data_dir, *settings.data_dir.resolve().parents) if path.exists())
    free = shutil.disk_usage(place).free
    words = f"{free / 1024**3:.1f} GB free at {place}"
    yield Finding(free >= LOW_DISK_BYTES, "disk", words if free >= LOW_DISK_BYTES else f"{words}: make room")


def _telephone(rooms: Rooms) -> Finding:
    names = ", ".join(provider.name for provider in rooms.oncall.providers)
    if names:
        return Finding(True, "telephone", f"calls go through {names}")
    return Finding(False, "telephone", "no voice provider: nobody can be rung (setting oncall.providers)")


def _secrets(rooms: Rooms) -> Iterator[Finding]:
    """Secrets without a default: what does not work while they are not set."""
    settings = rooms.oncall
    make = "set it to the output of 'openssl rand -hex 32', the same for every process"
    without = {
        "link_secret": (settings.link_secret, "pages by email and webhook are not sent"),
        "pin_secret": (settings.pin_secret, "customers cannot reach on-call by telephone"),
    }
    for name, (secret, loss) in without.items():
        words = "is set" if secret else f"oncall.{name} is not set, so {loss}: {make}"
        yield Finding(bool(secret), f"on-call's {name}", words)


def _alarms(conn: psycopg.Connection[tuple[Any, ...]]) -> Iterator[Finding]:
    open_ones = "SELECT kind, detail FROM oncall_alarm WHERE ended_at IS NULL ORDER BY alarm_id"
    for kind, detail in conn.execute(open_ones).fetchall():
        yield Finding(False, f"on-call alarm {kind}", detail)


def _rota(conn: psycopg.Connection[tuple[Any, ...]]) -> Finding:
    if conn.execute("SELECT EXISTS (SELECT FROM rota_document)").fetchone() == (True,):
        return Finding(True, "rota", "there is one")
    words = "none is saved: every person with a phone is rung in turn ('oncall apply FILE')"
    return Finding(False, "rota", words)


def _database_url(settings: Settings) -> str | None:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    note: Path = settings.data_dir / URL_FILE
    return note.read_text(encoding="utf-8").strip() if note.exists() else None


def _database(url: str) -> Iterator[Finding]:
    try:
        with psycopg.connect(url, connect_timeout=5, autocommit=True) as conn:
            conn.execute("SET TimeZone TO 'UTC'")
            yield Finding(True, "database", f"answers, PostgreSQL {conn.info.server_version // 10000}")
            yield _clock(conn)
            migrations = _migrations(url)
            yield migrations
            if not migrations.well and not _has_tables(conn):
                return  # everything below would be a fault, and each for this one reason
            yield from _partitions(conn)
            yield _upkeep(conn)
            yield _rota(conn)
            yield from _alarms(conn)
    except psycopg.OperationalError as error:
        yield Finding(False, "database", f"does not answer: {str(error).strip()}")
    except psycopg.errors.UndefinedTable as error:
        yield Finding(False, "tables", f"{str(error).splitlines()[0]}: restore a backup")


def _has_tables(conn: psycopg.Connection[tuple[Any, ...]]) -> bool:
    """Whether the tables that are looked at below are there: in a new or an old database they are not yet."""
    names = ("upkeep_job", "rota_document", "oncall_alarm")
    every = "SELECT count(to_regclass(name)) = %s FROM unnest(%s::text[]) AS name"
    return conn.execute(every, (len(names), list(names))).fetchone() == (True,)


def _clock(conn: psycopg.Connection[tuple[Any, ...]]) -> Finding:
    row = conn.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    drift = abs(utcnow() - row[0])
    words = f"differs from the database's by {drift.total_seconds():.1f} s"
    return Finding(
        drift <= LARGEST_DRIFT, "clock", words if drift <= LARGEST_DRIFT else f"{words}: set up NTP"
    )


def _migrations(url: str) -> Finding:
    try:
        plan = migration_plan(url)
    except MigrationError as error:
        return Finding(False, "migrations", str(error))
    words = plan.describe()
    return Finding(
        not plan.pending, "migrations", f"{words}: run 'ucx-proactive migrate'" if plan.pending else words
    )


def _upkeep(conn: psycopg.Connection[tuple[Any, ...]]) -> Finding:
    """The jobs that keep the tables, by the rows that they leave."""
    rows = conn.execute(_FAILING.encode(), (FAILURES_TO_ALARM, FAILING_FOR_S)).fetchall()
    words = "; ".join(Job(*row).words for row in rows)
    return Finding(not rows, "upkeep", words or "partitions, retention, packing: no job keeps failing")


_FAILING = """
SELECT job, subject, failing_since, failures, error FROM upkeep_job
WHERE failures >= %s AND ran_at >= failing_since + make_interval(secs => %s) ORDER BY failing_since
"""
_HYPERTABLE = "SELECT relkind = 'r' FROM pg_class WHERE oid = to_regclass(%s)"


def _partitions(conn: psycopg.Connection[tuple[Any, ...]]) -> Iterator[Finding]:
    tomorrow = (utcnow() + timedelta(days=1)).date()
    for table in ("frame", "event"):
        if conn.execute(_HYPERTABLE.encode(), (table,)).fetchone() == (True,):
            yield Finding(True, f"partitions of {table}", "TimescaleDB makes them as data comes")
            continue
        name = partition_name(table, tomorrow)
        there = conn.execute("SELECT to_regclass(%s) IS NOT NULL", (name,)).fetchone() == (True,)
        words = (
            "tomorrow's is there" if there else f"{name} is missing: is 'serve' with the role ingest running?"
        )
        yield Finding(there, f"partitions of {table}", words)


def _server(url: str) -> Finding:
    try:
        answer = httpx.get(f"{url}/readyz", timeout=5)
        checks = answer.json()["checks"]
    except (httpx.HTTPError, ValueError, KeyError) as error:
        words = f"{url} does not answer as ours does ({type(error).__name__})"
        return Finding(False, "server", f"{words}: is 'serve' running there? (--host, --port, --config)")
    ill = [f"{name}: {word}" for name, word in checks.items() if word != "ok"]
    return Finding(not ill, "server", "; ".join(ill) if ill else f"{url} is ready")
