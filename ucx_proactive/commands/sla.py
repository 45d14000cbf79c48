"""``ucx-proactive sla``: what a contract promises for a ticket. Flags only; ticketing/calculator.py works."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ticketing import calculator
from ticketing.errors import TicketingError
from ticketing.policy import Release
from ticketing.question import EVENTS, read_line, read_request
from ticketing.releases import load_directory, load_releases

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _option(help_text: str) -> Any:
    return typer.Option(help=help_text)


@app.command("sla")
def sla(
    plan: Annotated[str | None, _option("basic, gold or platinum.")] = None,
    licence: Annotated[str | None, _option("perpetual, subscription or cloud. [subscription]")] = None,
    theatre: Annotated[
        str | None, _option("americas, europe, me-sun-thu, me-mon-fri, or rest-of-world with --zone.")
    ] = None,
    country: Annotated[str | None, _option("Whose holidays count, as in IT. [the theatre's]")] = None,
    region: Annotated[str | None, _option("Its region, for regional holidays, as in MI.")] = None,
    zone: Annotated[str | None, _option("The customer's time zone, as in Asia/Tokyo.")] = None,
    priority: Annotated[str | None, _option("P1, P2, P3 or P4.")] = None,
    opened: Annotated[str | None, _option("When the ticket was opened: 2026-12-24T16:30:00+01:00")] = None,
    event: Annotated[
        list[str] | None, _option(f"TIME=what, in order of time; may be repeated. What: {EVENTS}.")
    ] = None,
    now: Annotated[str | None, _option("Answer as of this time. [the last event]")] = None,
    channel: Annotated[str | None, _option("proactive, portal, phone, chat or email. [portal]")] = None,
    language: Annotated[str | None, _option("Language of the ticket, as in it. [the theatre's]")] = None,
    apac: Annotated[bool, typer.Option("--apac", help="The deployment is in Asia-Pacific.")] = False,
    closing_day: Annotated[
        list[str] | None, _option("A day on which the team is closed, 2026-12-24; may be repeated.")
    ] = None,
    release: Annotated[str | None, _option("Policy release. [the one in force at opening]")] = None,
    policies: Annotated[
        Path | None, typer.Option(help="Directory of policy releases instead of ours.", file_okay=False)
    ] = None,
    batch: Annotated[
        Path | None,
        typer.Option(help="JSON lines, keys named as the options; - reads standard input.", allow_dash=True),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Work out due time, state, escalation and the reasons for a ticket.

    With --batch each line is a request of its own (`events` is a list of TIME=what) and is answered with a
    line. A wrong line is answered with {"line": N, "error": ..., "faults": [...]}, the others go on, and the
    command ends with 1.
    """
    releases = _releases(policies)
    given = {
        "plan": plan,
        "licence": licence,
        "theatre": theatre,
        "country": country,
        "region": region,
        "zone": zone,
        "priority": priority,
        "opened": opened,
        "events": event,
        "now": now,
        "channel": channel,
        "language": language,
        "apac": apac or None,
        "closing_day": closing_day,
        "release": release,
    }
    if batch is not None:
        _refuse_beside_batch(given)
        raise typer.Exit(1 if _batch(releases, batch) else 0)
    _single(releases, given, as_json)


def _releases(directory: Path | None) -> tuple[Release, ...]:
    try:
        return load_releases() if directory is None else load_directory(directory)
    except TicketingError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _refuse_beside_batch(given: dict[str, Any]) -> None:
    beside = [f"--{name.replace('_', '-')}" for name, value in given.items() if value]
    if beside:
        typer.echo(f"sla: --batch takes every option from its lines; leave out {', '.join(beside)}", err=True)
        raise typer.Exit(2)


def _single(releases: tuple[Release, ...], given: dict[str, Any], as_json: bool) -> None:
    try:
        answer = calculator.answer(releases, read_request(given, releases))
    except TicketingError as error:
        for fault in getattr(error, "faults", (str(error),)):
            typer.echo(f"sla: {fault}", err=True)
        raise typer.Exit(2) from None
    typer.echo(json.dumps(answer, ensure_ascii=False) if as_json else calculator.readable(answer))


def _batch(releases: tuple[Release, ...], batch: Path) -> bool:
    """Answer every line; True when one was wrong."""
    wrong = False
    for number, line in enumerate(_lines(batch), start=1):
        if not line.strip():
            continue
        values: dict[str, Any] = {}
        try:
            values = read_line(line)
            answer = calculator.answer(releases, read_request(values, releases))
        except TicketingError as error:
            wrong = True
            faults = list(getattr(error, "faults", (str(error),)))
            answer = {"line": number, "error": str(error), "faults": faults}
        if "id" in values:
            answer = {"id": values["id"]} | answer
        typer.echo(json.dumps(answer))
    return wrong


def _lines(batch: Path) -> Iterator[bytes]:
    if str(batch) == "-":
        yield from sys.stdin.buffer
        return
    try:
        with batch.open("rb") as file:
            yield from file
    except OSError as error:
        typer.echo(f"sla: cannot read {batch}: {error.strerror}", err=True)
        raise typer.Exit(2) from None
