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
from storage.pool import Pool, open_pool
from ucx_proactive.database import join
from wire.problem import Problem

T = TypeVar("T")

DatabaseUrl = Annotated[
    str | None,
    typer.Option("--database-url", envvar="UCX_DATABASE_URL", help="Default: our own in the data directory."),
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
