"""What the commands share: how to name a database, and how to work on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import psycopg
import typer

from storage.faults import EmbeddedError
from storage.migrate import MigrationError, migrate, plan
from storage.pool import CONNECT_TIMEOUT_S, Pool, open_pool
from ucx_proactive.database import fault_of_url, join
from wire.problem import Problem

T = TypeVar("T")


def checked_url(url: str | None) -> str | None:
    """Refuses at once what names no database; a pool would try it again and again."""
    if url is not None and (fault := fault_of_url(url)):
        raise typer.BadParameter(fault)
    return url


DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        envvar="UCX_DATABASE_URL",
        callback=checked_url,
        help="Default: our own in the data directory.",
    ),
]
DataDir = Annotated[
    Path,
    typer.Option("--data-dir", envvar="UCX_DATA_DIR", help="Where our own database lives.", file_okay=False),
]
HERE = Path("ucx-data")
"""Default of ``--data-dir``: where the command is called, as that of ``serve`` is."""


def with_database(work: Callable[[Pool], Awaitable[T]], database_url: str | None, data_dir: Path) -> T:
    """Run ``work`` on the database; what it refuses is told in a line, and the command ends with 1."""
    try:
        with join(database_url, data_dir, _tell) as url:
            psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S).close()  # says why not; a pool only waits
            # Our own may be new; a database of others is migrated when they say so.
            if database_url is None and plan(url).pending:
                migrate(url, progress=_tell)
            return asyncio.run(_run(work, url))
    except (Problem, EmbeddedError, MigrationError, psycopg.Error) as error:
        typer.echo(str(error).strip(), err=True)
        raise typer.Exit(1) from None


def counted(number: int, noun: str) -> str:
    """``1 gap``, ``2 gaps``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _tell(line: str) -> None:
    typer.echo(line, err=True)


async def _run(work: Callable[[Pool], Awaitable[T]], url: str) -> T:
    pool = await open_pool(url, max_size=2)
    try:
        return await work(pool)
    finally:
        await pool.close()
