"""``ucx-proactive registry``: customers, contracts and people from a declarative file."""

from __future__ import annotations

import asyncio
import getpass
from pathlib import Path
from typing import Annotated

import typer

from storage.pool import open_pool
from ticketing.registry import RegistryError
from ticketing.registry_file import apply_file, plan_file
from ticketing.registry_plan import Change, readable
from wire.clock import utcnow

app = typer.Typer(help="Customers, contracts and people: a declarative file.", no_args_is_help=True)
File = Annotated[Path, typer.Argument(help="The registry document (YAML).", exists=True, dir_okay=False)]
Url = Annotated[str, typer.Option("--database-url", envvar="UCX_DATABASE_URL", help="PostgreSQL to use.")]


@app.command()
def plan(file: File, database_url: Url) -> None:
    """Show what applying FILE would change; changes nothing."""
    _report(file, database_url, apply=False)


@app.command()
def apply(file: File, database_url: Url) -> None:
    """Show what FILE changes, and change it: all or nothing."""
    _report(file, database_url, apply=True)


def _report(file: Path, database_url: str, *, apply: bool) -> None:
    try:
        text = file.read_text(encoding="utf-8", errors="surrogateescape")
        changes = asyncio.run(_run(text, str(file), database_url, apply))
    except RegistryError as error:
        for fault in error.faults:
            where = f"{file}:{fault.line}" if fault.line else str(file)
            typer.echo(f"{where}: {fault.field}: {fault.message}", err=True)
        typer.echo(f"{len(error.faults)} fault(s); nothing was changed.", err=True)
        raise typer.Exit(2) from None
    for change in changes:
        typer.echo(readable(change))
    typer.echo(f"{len(changes)} thing(s) {'changed' if apply else 'would change'}.")


async def _run(text: str, origin: str, database_url: str, apply: bool) -> list[Change]:
    pool = await open_pool(database_url, max_size=1)
    try:
        async with pool.connection() as conn:
            if not apply:
                return await plan_file(conn, text)
            who = f"cli:{getpass.getuser()}"
            return await apply_file(conn, text, now=utcnow(), actor=who, origin=origin)
    finally:
        await pool.close()
