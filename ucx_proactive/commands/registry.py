"""``ucx-proactive registry``: customers, contracts and people from a declarative file. Flags only."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import Annotated

import typer

from storage.pool import Pool
from ticketing.registry import Registry, RegistryError
from ticketing.registry_file import apply_file, example_text, parse, plan_file
from ticketing.registry_plan import Change, doubts, readable
from ucx_proactive.commands.shared import HERE, DatabaseUrl, DataDir, counted, with_database
from wire.clock import utcnow

app = typer.Typer(
    help="Customers, contracts and people: a declarative file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
File = Annotated[Path, typer.Argument(help="The registry document (YAML).", exists=True, dir_okay=False)]


@app.command()
def plan(file: File, database_url: DatabaseUrl = None, data_dir: DataDir = HERE) -> None:
    """Show what applying FILE would change; changes nothing."""
    _report(file, database_url, data_dir, apply=False)


@app.command()
def apply(file: File, database_url: DatabaseUrl = None, data_dir: DataDir = HERE) -> None:
    """Show what FILE changes, and change it: all or nothing."""
    _report(file, database_url, data_dir, apply=True)


@app.command()
def check(file: File) -> None:
    """Say what is wrong with FILE, all at once; needs no database and changes nothing."""
    try:
        registry, _ = parse(_text(file))
    except RegistryError as error:
        _tell_faults(file, error)
        raise typer.Exit(2) from None
    for doubt in doubts(registry):
        typer.echo(f"look at {doubt}", err=True)
    typer.echo(f"{file} can be applied: {_contents(registry)}.")


@app.command()
def example() -> None:
    """Print a document with every field that there is, explained: a place to start from."""
    typer.echo(example_text(), nl=False)


@app.command()
def schema() -> None:
    """Print the document's JSON Schema, with which editors complete and check it."""
    typer.echo(json.dumps(Registry.model_json_schema(), indent=2))


def _contents(registry: Registry) -> str:
    deployments = sum(len(tenant.deployments) for tenant in registry.tenants.values())
    things = {"product": len(registry.products), "person": len(registry.people)}
    things |= {"customer": len(registry.tenants), "deployment": deployments}
    return ", ".join(counted(number, noun) for noun, number in things.items())


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="surrogateescape")


def _report(file: Path, database_url: str | None, data_dir: Path, *, apply: bool) -> None:
    text = _text(file)

    async def work(pool: Pool) -> list[Change]:
        async with pool.connection() as conn:
            if not apply:
                return await plan_file(conn, text)
            who = f"cli:{getpass.getuser()}"
            return await apply_file(conn, text, now=utcnow(), actor=who, origin=str(file))

    try:
        changes = with_database(work, database_url, data_dir)
    except RegistryError as error:
        _tell_faults(file, error)
        raise typer.Exit(2) from None
    for doubt in doubts(parse(text)[0]):
        typer.echo(f"look at {doubt}", err=True)
    for change in changes:
        typer.echo(readable(change))
    typer.echo(f"{counted(len(changes), 'thing')} {'changed' if apply else 'would change'}.")


def _tell_faults(file: Path, error: RegistryError) -> None:
    for fault in error.faults:
        where = f"{file}:{fault.line}" if fault.line else str(file)
        typer.echo(f"{where}: {fault.field}: {fault.message}", err=True)
    typer.echo(f"{counted(len(error.faults), 'fault')}; nothing was changed.", err=True)
