"""``ucx-proactive oncall``: who is on call, when, and where nobody is. Flags only; oncall/ works it out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar
from zoneinfo import ZoneInfo, available_timezones

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
from ucx_proactive.commands.oncall_apply import apply
from ucx_proactive.commands.oncall_timeline import timeline
from ucx_proactive.commands.shared import HERE, DatabaseUrl, DataDir, counted, with_database
from ucx_proactive.contract import contract_limit_s
from wire.clock import utcnow

app = typer.Typer(
    help="Who is on call, when, and where nobody is.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
oncall_watch.add_to(app)
app.add_typer(oncall_pins.app, name="pin")
app.command("timeline")(timeline)
app.command("apply")(apply)
LONGEST = timedelta(days=800)
SHIFTS_AHEAD, GAPS_AHEAD = timedelta(days=30), timedelta(days=90)
"""How far the lists reach where no end is given."""
_T = TypeVar("_T")

RotaFile = Annotated[Path | None, typer.Option("--rota", help="A rota file.", exists=True, dir_okay=False)]
Name = Annotated[str | None, typer.Option("--schedule", help="Only this schedule.")]
At = Annotated[
    str | None, typer.Option("--at", help="2026-12-24T17:00:00Z or '2026-12-24 18:00'; default: now.")
]
From = Annotated[
    str | None, typer.Option("--from", help="From this time on; a bare date is its midnight. [today]")
]
To = Annotated[str | None, typer.Option("--to", help="To this time; a bare date is included.")]
Zone = Annotated[
    str | None, typer.Option("--zone", help="IANA zone of all times shown. [the rota's]", metavar="ZONE")
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


@app.command("who")
def who_(
    rota: RotaFile = None,
    schedule: Name = None,
    at: At = None,
    zone: Zone = None,
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
        on = _zone(zone, loaded)
        _lines(view.who_lines(wanted, when, loaded.names, on))
        _lines([f"(at {view.local(when, on)}; times in {on})"])


@app.command("shifts")
def shifts_(
    start: From = None,
    end: To = None,
    rota: RotaFile = None,
    schedule: Name = None,
    zone: Zone = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
    as_json: AsJson = False,
    ical: Annotated[bool, typer.Option("--ical", help="As a calendar (RFC 5545).")] = False,
    person: Annotated[str | None, typer.Option("--person", help="Only this person's shifts.")] = None,
) -> None:
    """All shifts within a stretch of time; default: the next 30 days."""
    loaded = _rota(rota, database_url, data_dir)
    wanted, (a, b) = _chosen(loaded, schedule), _range(start, end, loaded.zone, SHIFTS_AHEAD)
    if ical:
        typer.echo(feed("On call", wanted, person, loaded.names, a, b, utcnow()).decode(), nl=False)
        return
    found = [(one, [s for s in shifts(one, a, b) if person in (None, s.person_key)]) for one in wanted]
    if as_json:
        _json({"shifts": [view.shift_view(s, loaded.names) for _, own in found for s in own]})
    else:
        on = _zone(zone, loaded)
        _lines([line for one, own in found for line in view.shift_lines(one, own, loaded.names, on)])
        _lines([f"(times in {on})"])


@app.command()
def gaps(
    start: From = None,
    end: To = None,
    rota: RotaFile = None,
    schedule: Name = None,
    zone: Zone = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
    as_json: AsJson = False,
) -> None:
    """Contracted time in which nobody can be reached; default: the next 90 days.

    Exit code 1 when there is any."""
    loaded = _rota(rota, database_url, data_dir)
    a, b = _range(start, end, loaded.zone, GAPS_AHEAD)
    subject = f"schedule {_chosen(loaded, schedule)[0].name}" if schedule else None
    found = [gap for gap in rota_gaps(loaded, a, b) if subject in (None, gap.subject)]
    if as_json:
        _json({"from": view.stamp(a), "to": view.stamp(b), "gaps": [view.gap_view(gap) for gap in found]})
    else:
        on = _zone(zone, loaded)
        span = f"between {view.local(a, on)} and {view.local(b, on)} (times in {on})"
        _lines([*view.gap_lines(found, on), f"{counted(len(found), 'gap') if found else 'no gaps'} {span}"])
    raise typer.Exit(1 if found else 0)


@app.command("fairness")
@app.command("fair", hidden=True)
def fair(
    start: From = None,
    end: To = None,
    rota: RotaFile = None,
    schedule: Name = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
    country: Annotated[str, typer.Option("--holidays", help="Whose holidays count (ISO 3166-1).")] = "IT",
    as_json: AsJson = False,
) -> None:
    """Who carries how many hours, nights, weekends and public holidays; default: the next 90 days."""
    loaded = _rota(rota, database_url, data_dir)
    wanted, (a, b) = _chosen(loaded, schedule), _range(start, end, loaded.zone, GAPS_AHEAD)
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
    schedules = counted(len(loaded.schedules), "schedule")
    typer.echo(f"{file}: {schedules}, {counted(len(found), 'gap')} in the next {counted(ahead, 'day')}")
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
        _refuse(counted(len(error.faults), "fault"))


async def _from_database(pool: Pool) -> Rota:
    async with pool.connection() as conn:
        stored = await load(conn, utcnow())
    if stored is None:
        _refuse("the database has no rota yet: save one with 'oncall apply FILE'")
    return stored.rota


def _chosen(loaded: Rota, wanted: str | None) -> list[Schedule]:
    if wanted is None:
        return list(loaded.schedules.values())
    key = _or_usage(lambda: name(wanted))
    if key not in loaded.schedules:
        _refuse(f"there is no schedule '{key}'; there are: {', '.join(loaded.schedules) or 'none'}")
    return [loaded.schedules[key]]


def _range(start: str | None, end: str | None, zone: str, ahead: timedelta) -> tuple[datetime, datetime]:
    """From ``start`` (today) to ``end`` (so far ahead)."""
    a = _time(start or utcnow().astimezone(ZoneInfo(zone)).date().isoformat(), zone)
    b = a + ahead if end is None else _or_usage(lambda: moment(end, zone, last=True))
    if not a < b <= a + LONGEST:
        _refuse(f"--to must be after --from, by at most {LONGEST.days} days")
    return a, b


def _zone(wanted: str | None, loaded: Rota) -> str:
    """The one clock on which a list is shown."""
    if wanted is not None and wanted not in available_timezones():
        _refuse(f"'{wanted}' is no IANA time zone, such as Europe/Rome")
    return wanted or loaded.zone


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
