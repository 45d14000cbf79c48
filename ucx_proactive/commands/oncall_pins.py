"""``ucx-proactive oncall pin``: customers' PINs for the on-call line. Flags only; oncall/pins.py works."""

from __future__ import annotations

import getpass
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from oncall import pins
from oncall.alarm import Conn
from oncall.errors import PinRefused
from oncall.pin import shown
from oncall.pins import Place
from oncall.settings import Settings
from storage.pool import Pool
from ucx_proactive.commands.shared import HERE, DatabaseUrl, DataDir, with_database
from ucx_proactive.settings import BadSettings, load
from wire.clock import utcnow

app = typer.Typer(help="PINs with which customers reach on-call by telephone.", no_args_is_help=True)
T = TypeVar("T")
Config = Annotated[
    Path | None,
    typer.Option("--config", envvar="UCX_CONFIG", help="Settings of 'serve' (oncall.pin_secret)."),
]
Where = Annotated[str, typer.Argument(metavar="TENANT/DEPLOYMENT", help="Keys, as in acme/main.")]
Make = Callable[[Conn, Settings, Place, str, datetime], Awaitable[str]]


@app.command()
def issue(
    where: Where, config: Config = None, database_url: DatabaseUrl = None, data_dir: DataDir = HERE
) -> None:
    """Issue a deployment's first PIN. It is shown once."""
    _made(pins.issue, where, config, database_url, data_dir)


@app.command()
def rotate(
    where: Where, config: Config = None, database_url: DatabaseUrl = None, data_dir: DataDir = HERE
) -> None:
    """Replace a deployment's PIN; the old one opens nothing from now on. The new one is shown once."""
    _made(pins.rotate, where, config, database_url, data_dir)


@app.command()
def revoke(where: Where, database_url: DatabaseUrl = None, data_dir: DataDir = HERE) -> None:
    """End a deployment's PIN."""

    async def end(pool: Pool) -> None:
        async with pool.connection() as conn:
            await pins.revoke(conn, await _place(conn, where), _me(), utcnow())

    _run(end, database_url, data_dir)
    typer.echo(f"the PIN of {where} is revoked")


@app.command("list")
def list_pins(database_url: DatabaseUrl = None, data_dir: DataDir = HERE) -> None:
    """Who has a PIN, since when, and when it was last used (UTC). Never the PINs themselves."""

    async def read(pool: Pool) -> list[dict[str, object]]:
        async with pool.connection() as conn:
            return await pins.listed(conn)

    for row in with_database(read, database_url, data_dir):
        state = (
            f"revoked {_day(row['revoked_at'])} by {row['revoked_by']}" if row["revoked_at"] else "in force"
        )
        place = f"{row['tenant']}/{row['deployment']}"
        used = f"last used {_day(row['used_at'])}" if row["used_at"] else "never used"
        typer.echo(f"{place:<40} issued {_day(row['issued_at'])} by {row['issued_by']}; {state}; {used}")


def _day(at: object) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def _made(make: Make, where: str, config: Path | None, database_url: str | None, data_dir: Path) -> None:
    settings = _settings(config)

    async def work(pool: Pool) -> str:
        async with pool.connection() as conn:
            return await make(conn, settings, await _place(conn, where), _me(), utcnow())

    pin = _run(work, database_url, data_dir)
    typer.echo(shown(pin))
    typer.echo(
        "This PIN is shown once. Give it to the customer by a safe way; nobody can look it up.", err=True
    )


async def _place(conn: Conn, where: str) -> Place:
    tenant, slash, deployment = where.partition("/")
    if not slash:
        raise PinRefused(f"'{where}' names no deployment: TENANT/DEPLOYMENT is needed, as in acme/main")
    return await pins.place_of(conn, tenant, deployment)


def _settings(config: Path | None) -> Settings:
    try:
        return load({}, file=config)[1].oncall
    except BadSettings as error:
        typer.echo(f"oncall: {error}", err=True)
        raise typer.Exit(2) from None


def _run(work: Callable[[Pool], Awaitable[T]], database_url: str | None, data_dir: Path) -> T:
    try:
        return with_database(work, database_url, data_dir)
    except PinRefused as refusal:
        typer.echo(f"oncall: {refusal}", err=True)
        raise typer.Exit(2) from None


def _me() -> str:
    return f"cli:{getpass.getuser()}"
