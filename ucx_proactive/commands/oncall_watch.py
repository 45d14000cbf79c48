"""``ucx-proactive oncall``, the part that watches on-call itself: test calls and the paging switch."""

from __future__ import annotations

import getpass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import httpx
import typer

from agent.enrol import EnrolmentError
from oncall import drill, switch
from oncall.drill import Drill, NoTest, Phone, Test
from oncall.synthetic import Progress
from storage.pool import Pool
from ucx_proactive import synthetic
from ucx_proactive.commands.shared import HERE, DatabaseUrl, DataDir, with_database
from ucx_proactive.settings import BadSettings, Rooms, load
from wire.clock import utcnow

Config = Annotated[
    Path | None,
    typer.Option("--config", envvar="UCX_CONFIG", help="Settings of 'serve' (YAML): provider, public URL."),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is kept.")]
paging = typer.Typer(help="The switch that decides whether the pager rings anybody.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    app.command("test-call")(call)
    app.command("test-calls")(calls)
    app.command("synthetic")(invented)
    app.add_typer(paging, name="paging")


def call(
    person: Annotated[str, typer.Argument(help="Key of the person.")],
    config: Config = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Ring a person's phone for a test, the way a page goes; key 4 confirms it.

    'serve' must run with the same settings: it answers the provider. Exit code 0: confirmed. 1: not."""
    rooms = _rooms(config)

    async def made(pool: Pool) -> Test:
        async with httpx.AsyncClient() as http:
            tests = Drill(pool, rooms.oncall, utcnow, http)
            test_id = await tests.begin(person, getpass.getuser())
            typer.echo(f"ringing {person} ...", err=True)
            return await tests.finish(test_id)

    try:
        test = with_database(made, database_url, data_dir)
    except NoTest as refusal:
        typer.echo(f"oncall: {refusal}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{test.name} at {test.number}: {test.outcome} ({test.detail})")
    raise typer.Exit(0 if test.outcome == "confirmed" else 1)


def calls(database_url: DatabaseUrl = None, data_dir: DataDir = HERE) -> None:
    """Whose phone was confirmed when. Exit code 1: somebody is overdue."""
    now = utcnow()

    async def read(pool: Pool) -> list[Phone]:
        async with pool.connection() as conn:
            return await drill.phones(conn, now)

    found = with_database(read, database_url, data_dir)
    for phone in found:
        when = (
            f"confirmed {phone.confirmed_at:%Y-%m-%d %H:%M} UTC" if phone.confirmed_at else "never confirmed"
        )
        newest = f"; newest test: {phone.outcome}" if phone.outcome else ""
        mark = "OVERDUE" if phone.overdue(now) else "ok"
        typer.echo(f"{mark:8}{phone.name} ({phone.key}) {phone.number}: {when}{newest}")
    raise typer.Exit(1 if any(phone.overdue(now) for phone in found) else 0)


def invented(
    collector: Annotated[str, typer.Option("--collector", help="Our front door, as agents reach it.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Key of the invented customer.")],
    state_dir: Annotated[Path, typer.Option("--state-dir", help="Identity of the invented host.")],
    token: Annotated[
        str | None,
        typer.Option("--token", help="Enrolment token; the first time only."),
    ] = None,
    minutes: Annotated[int, typer.Option("--within", min=1, max=60, help="Minutes for an answer.")] = 10,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Send an invented critical fault and follow it until the automatic callee answers; for a daily timer.

    Exit code 0: answered. 1: it did not come through, and how far it came."""

    async def sent(pool: Pool) -> Progress:
        return await synthetic.run(pool, collector, tenant, state_dir, timedelta(minutes=minutes), utcnow)

    try:
        synthetic.enrolled(state_dir, collector, token)
        far = with_database(sent, database_url, data_dir)
    except (synthetic.NotSent, EnrolmentError, OSError) as problem:
        typer.echo(f"oncall: {problem}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"invented page: {far.outcome()} (ticket {far.ticket or 'none'})")
    raise typer.Exit(0 if far.answered_at else 1)


@paging.command("status")
def status(database_url: DatabaseUrl = None, data_dir: DataDir = HERE) -> None:
    """Whether paging is on. Exit code 1: it is off."""
    found = with_database(_read, database_url, data_dir)
    since = f" since {found.at:%Y-%m-%d %H:%M:%S} UTC, by {found.who}" if found.at else ""
    typer.echo(f"paging is {'on' if found.on else 'OFF'}{since}: {found.reason}")
    raise typer.Exit(0 if found.on else 1)


@paging.command("on")
def on(reason: Reason, database_url: DatabaseUrl = None, data_dir: DataDir = HERE) -> None:
    """Confirm that this database pages (after a restore, too)."""
    _turn(True, reason, database_url, data_dir)


@paging.command("off")
def off(reason: Reason, database_url: DatabaseUrl = None, data_dir: DataDir = HERE) -> None:
    """Ring nobody. The auditor alarms when it stays so."""
    _turn(False, reason, database_url, data_dir)


def _turn(wanted: bool, reason: str, database_url: str | None, data_dir: Path) -> None:
    if not reason.strip() or "\x00" in reason:
        typer.echo("oncall: --reason must say something", err=True)
        raise typer.Exit(2)

    async def turn(pool: Pool) -> None:
        async with pool.connection() as conn:
            await switch.turn(conn, on=wanted, who=getpass.getuser(), reason=reason.strip(), now=utcnow())

    with_database(turn, database_url, data_dir)
    typer.echo(f"paging is {'on' if wanted else 'OFF'}")


async def _read(pool: Pool) -> switch.Switch:
    async with pool.connection() as conn:
        await switch.is_on(conn, utcnow())
        return await switch.read(conn)


def _rooms(config: Path | None) -> Rooms:
    try:
        return load({}, file=config)[1]
    except BadSettings as error:
        typer.echo(f"oncall: {error}", err=True)
        raise typer.Exit(2) from None
