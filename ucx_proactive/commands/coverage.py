"""``ucx-proactive coverage``: contracted minutes. Flags only; ticketing/coverage.py works."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated

import msgspec
import typer

from ticketing.coverage import Row, coverage
from ticketing.errors import TicketingError
from ticketing.releases import load_releases, release_for, release_named
from wire.clock import utcnow

AHEAD = timedelta(days=30)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command("coverage")
def show(
    start: Annotated[
        str | None,
        typer.Option(
            "--from", help="2026-12-01 (midnight in each theatre), or a time with its offset. [today]"
        ),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", help="Likewise; not included. [30 days after --from]")
    ] = None,
    theatre: Annotated[str | None, typer.Option(help="Only this theatre.")] = None,
    country: Annotated[str | None, typer.Option(help="Whose holidays count. [each theatre's own]")] = None,
    release: Annotated[str | None, typer.Option(help="Policy release. [the one in force at --from]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """List the minutes that each plan covers in each theatre."""
    try:
        since = _when("--from", start) if start else utcnow().date()
        until = _when("--to", end) if end else since + AHEAD
        releases = load_releases()
        day = since.date() if isinstance(since, datetime) else since
        chosen = release_named(releases, release) if release else release_for(releases, day)
        rows = list(coverage(chosen, since, until, theatre=theatre, country=country))
    except TicketingError as error:
        typer.echo(f"coverage: {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(msgspec.json.encode(rows).decode() if as_json else _table(rows))


def _when(option: str, text: str) -> date | datetime:
    try:
        if len(text) == len("2026-12-01"):
            return date.fromisoformat(text)
        at = datetime.fromisoformat(text)
    except ValueError:
        raise TicketingError(f"{option}: '{text}' is neither a date nor a time") from None
    if at.tzinfo is None:
        raise TicketingError(f"{option}: '{text}' has no time zone; add Z or an offset such as +01:00")
    return at


def _table(rows: list[Row]) -> str:
    lines = [f"{'theatre':<12}{'plan':<10}{'priorities':<14}{'minutes':>12}"]
    lines += [
        f"{row.theatre:<12}{row.plan:<10}{_span(row.priorities):<14}{row.minutes:>12.0f}" for row in rows
    ]
    return "\n".join(lines)


def _span(priorities: tuple[str, ...]) -> str:
    return priorities[0] if len(priorities) == 1 else f"{priorities[0]} to {priorities[-1]}"
