"""``ucx-proactive ticket``: look at tickets and their reasons. Flags only; ticketing/reading.py works."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

from storage.pool import Pool
from ticketing import reading
from ticketing.errors import TicketingError
from ticketing.lifecycle import State
from ticketing.published import TicketFilter
from ucx_proactive.commands.shared import HERE, DatabaseUrl, DataDir, with_database
from wire.clock import utcnow

app = typer.Typer(
    help="Look at tickets.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
Tongue = Literal["it", "en", "fr", "de", "es", "pt", "ar"]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def show(
    number: Annotated[str, typer.Argument(help="The ticket's number: UCX-2026-000123.")],
    language: Annotated[Tongue, typer.Option(help="Of the reasons.")] = "en",
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """One ticket: its clock, its history, and why everything was decided as it was."""

    async def read(pool: Pool) -> dict[str, Any]:
        async with pool.connection() as conn:
            found = await reading.ticket_in_full(conn, number, None, None, utcnow())
            return reading.in_words(found, language)

    try:
        document = with_database(read, database_url, data_dir)
    except TicketingError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(json.dumps(document, indent=2) if as_json else "\n".join(reading.readable(document)))


@app.command("list")
def list_tickets(
    tenant: Annotated[str | None, typer.Option(help="Key of the customer.")] = None,
    state: Annotated[list[State] | None, typer.Option(help="Only in this state; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500)] = 50,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Tickets, newest first."""
    wanted = TicketFilter(tenant=tenant, states=tuple(map(str, state)) if state else None, limit=limit)

    async def read(pool: Pool) -> dict[str, Any]:
        async with pool.connection() as conn:
            return await reading.ticket_page(conn, wanted)

    page = with_database(read, database_url, data_dir)
    if as_json:
        typer.echo(json.dumps(page, indent=2))
        return
    if not page["tickets"]:
        typer.echo("no tickets" if tenant is None else f"no tickets of a tenant '{tenant}'", err=True)
    for row in page["tickets"]:
        due = row["due_at"] or "-"
        typer.echo(f"{row['number']}  P{row['priority']}  {row['state']:<19} due {due:<32} {row['title']}")
