"""``ucx-proactive oncall``: who is on call, when, and where nobody is. Flags only; oncall/ works it out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from oncall import rota_view as view
from oncall.fairness import burdens
from oncall.gaps import rota_gaps
from oncall.ical import feed
from oncall.policy_check import reaches, refusals
from oncall.roster import load
from oncall.rota_file import BadRota, Rota
from oncall.rota_files import read_rota
from oncall.rota_terms import holidays_of, moment, name
from oncall.schedule import Schedule, shifts
from storage.pool import Pool
from ucx_proactive.commands import oncall_pins, oncall_watch
from ucx_proactive.commands.shared import DatabaseUrl, DataDir, with_database
from ucx_proactive.contract import contract_limit_s
from wire.clock import utcnow

app = typer.Typer(help="Who is on call, when, and where nobody is.", no_args_is_help=True)
oncall_watch.add_to(app)
app.add_typer(oncall_pins.app, name="pin")
HERE = Path("ucx-data")
LONGEST = timedelta(days=800)
_T = TypeVar("_T")

RotaFile = Annotated[Path | None, typer.Option("--rota", help="A rota file.", exists=True, dir_okay=False)]
Name = Annotated[str | None, typer.Option("--schedule", help="Only this schedule.")]
At = Annotated[
    str | None, typer.Option("--at", help="2026-12-24T17:00:00Z or '2026-12-24 18:00'; default: now.")
]
From = Annotated[str, typer.Option("--from", help="From this time on; a bare date is its midnight.")]
To = Annotated[str, typer.Option("--to", help="To this time; a bare date is included.")]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@app.command("who")
def who_(
    rota: RotaFile = None,
    schedule: Name = None,
    at: At = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
    as_json: AsJson = False,
) -> None:
    """Who is on call at a time."""
    loaded = _rota(rota, database_url, data_dir)
    wanted, when = _chosen(loaded, schedule), _time(at, loaded.zone) if at else utcnow()
    if as_json:
        _json(view.who_view(wanted, when, loaded.names))
    else:
        _lines(view.who_lines(wanted, when, loaded.names))


@app.command("shifts")
def shifts_(
    start: From,
    end: To,
    rota: RotaFile = None,
    schedule: Name = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
    as_json: AsJson = False,
    ical: Annotated[bool, typer.Option("--ical", help="As a calendar (RFC 5545).")] = False,
    person: Annotated[str | None, typer.Option("--person", help="Only this person's shifts.")] = None,
) -> None:
    """All shifts within a stretch of time."""
    loaded = _rota(rota, database_url, data_dir)
    wanted, (a, b) = _chosen(loaded, schedule), _range(start, end, loaded.zone)
    if ical:
        typer.echo(feed("On call", wanted, person, loaded.names, a, b, utcnow()).decode(), nl=False)
        return
    found = [(one, [s for s in shifts(one, a, b) if person in (None, s.person_key)]) for one in wanted]
    if as_json:
        _json({"shifts": [view.shift_view(s, loaded.names) for _, own in found for s in own]})
    else:
        _lines([line for one, own in found for line in view.shift_lines(one, own, loaded.names)])


@app.command()
def gaps(
    start: From,
    end: To,
    rota: RotaFile = None,
    schedule: Name = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
    as_json: AsJson = False,
) -> None:
    """Contracted time in which nobody can be reached. Exit code 1 when there is any."""
    loaded = _rota(rota, database_url, data_dir)
    a, b = _range(start, end, loaded.zone)
    subject = f"schedule {_chosen(loaded, schedule)[0].name}" if schedule else None
    found = [gap for gap in rota_gaps(loaded, a, b) if subject in (None, gap.subject)]
    if as_json:
        _json({"from": view.stamp(a), "to": view.stamp(b), "gaps": [view.gap_view(gap) for gap in found]})
    else:
        _lines(view.gap_lines(found, loaded.zone) or ["no gaps"])
    raise typer.Exit(1 if found else 0)


@app.command()
def fair(
    start: From,
    end: To,
    rota: RotaFile = None,
    schedule: Name = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
    country: Annotated[str, typer.Option("--holidays", help="Whose holidays count (ISO 3166-1).")] = "IT",
    as_json: AsJson = False,
) -> None:
    """Who carries how many hours, nights, weekends and public holidays."""
    loaded = _rota(rota, database_url, data_dir)
    wanted, (a, b) = _chosen(loaded, schedule), _range(start, end, loaded.zone)
    days = _or_usage(lambda: holidays_of(country.upper()))
    lines = {one.name: burdens(one, days, a, b) for one in wanted}
    if as_json:
        _json({key: [view.burden_view(line, loaded.names) for line in own] for key, own in lines.items()})
        return
    for key, own in lines.items():
        _lines([f"{key}:", *view.burden_lines(own, loaded.names)])


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A rota file.", exists=True, dir_okay=False)],
    within: Annotated[
        int | None,
        typer.Option("--within", min=1, help="Minutes to reach a person; default: the contract's."),
    ] = None,
    ahead: Annotated[int, typer.Option("--days", min=1, max=730, help="Look so far ahead for gaps.")] = 90,
) -> None:
    """Check a rota file: its form, its paging policies against the contract, and 90 days for gaps.

    Exit code 2: the file is refused. 1: it has gaps. 0: it is good."""
    loaded = _from_file(file)
    limit_s = within * 60 if within else contract_limit_s(utcnow())
    _show_policies(loaded, limit_s)
    if any(refusals(policy, limit_s) for policy in loaded.policies.values()):
        raise typer.Exit(2)
    now = utcnow().replace(second=0, microsecond=0)
    found = rota_gaps(loaded, now, now + timedelta(days=ahead))
    _lines(view.gap_lines(found, loaded.zone))
    typer.echo(f"{file}: {len(loaded.schedules)} schedule(s), {len(found)} gap(s) in the next {ahead} days")
    raise typer.Exit(1 if found else 0)


def _show_policies(loaded: Rota, limit_s: int) -> None:
    for policy in loaded.policies.values():
        for reach in reaches(policy, limit_s):
            verdict = reach.fault or f"reaches somebody within {limit_s // 60} min"
            _lines([f"policy {policy.name}, {reach.state}: {verdict}", *reach.lines])


def _rota(file: Path | None, database_url: str | None, data_dir: Path) -> Rota:
    if file is not None:
        return _from_file(file)
    try:
        return with_database(_from_database, database_url, data_dir)
    except BadRota as error:
        _refuse(f"the rota in force cannot be read:\n{error}")


def _from_file(file: Path) -> Rota:
    try:
        return _run(partial(read_rota, file, utcnow()))
    except BadRota as error:
        _lines(
            [f"{file}:{fault.line}: {fault.field or 'document'}: {fault.message}" for fault in error.faults],
            err=True,
        )
        _refuse(f"{len(error.faults)} fault(s)")


async def _from_database(pool: Pool) -> Rota:
    async with pool.connection() as conn:
        stored = await load(conn, utcnow())
    if stored is None:
        _refuse("the database has no rota yet: PUT one to /v1/oncall/rota")
    return stored.rota


def _chosen(loaded: Rota, wanted: str | None) -> list[Schedule]:
    if wanted is None:
        return list(loaded.schedules.values())
    key = _or_usage(lambda: name(wanted))
    if key not in loaded.schedules:
        _refuse(f"there is no schedule '{key}'; there are: {', '.join(loaded.schedules) or 'none'}")
    return [loaded.schedules[key]]


def _range(start: str, end: str, zone: str) -> tuple[datetime, datetime]:
    a, b = _time(start, zone), _or_usage(lambda: moment(end, zone, last=True))
    if not a < b <= a + LONGEST:
        _refuse(f"--to must be after --from, by at most {LONGEST.days} days")
    return a, b


def _time(text: str, zone: str) -> datetime:
    return _or_usage(lambda: moment(text, zone))


def _or_usage(parse: Callable[[], _T]) -> _T:
    try:
        return parse()
    except ValueError as error:
        _refuse(str(error))


def _run(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    return asyncio.run(work())


def _refuse(message: str) -> NoReturn:
    typer.echo(f"oncall: {message}", err=True)
    raise typer.Exit(2)


def _json(value: object) -> None:
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def _lines(lines: list[str], *, err: bool = False) -> None:
    for line in lines:
        typer.echo(line, err=err)
