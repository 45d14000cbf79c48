"""``ucx-proactive maintenance``: maintenance windows from a customer's calendar. Flags only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from pydantic import ValidationError

from alerting.imports_api import CalendarBody, ImportView, imported
from alerting.mutes_api import deployment_zone, mutes_tenant
from storage.pool import Pool
from ucx_proactive.commands.shared import HERE, DatabaseUrl, DataDir, with_database
from wire.access import Principal, Role
from wire.clock import utcnow
from wire.problem import Unprocessable

app = typer.Typer(
    help="Maintenance windows.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


@app.callback()
def main() -> None:
    """Maintenance windows."""


@app.command(name="import")
def import_calendar(
    path: Annotated[Path, typer.Argument(help="A calendar (.ics).", dir_okay=False)],
    tenant: Annotated[str, typer.Option(help="Key of the tenant.")],
    deployment: Annotated[str, typer.Option(help="Key of the deployment.")],
    host: Annotated[str | None, typer.Option(help="Name of one host. [all]")] = None,
    source: Annotated[str, typer.Option(help="Name of this calendar among the deployment's.")] = "calendar",
    keep_missing: Annotated[
        bool, typer.Option("--keep-missing", help="Do not end windows that the calendar no longer has.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would change.")] = False,
    by: Annotated[str, typer.Option(help="Who imports it, for the record.")] = "command line",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Take PATH's events for maintenance windows of a deployment. Imported again, what changed is changed,
    and what it no longer has is ended. Ends with 1, and every fault, when it cannot be accepted."""
    body = _body(path, tenant, deployment, host, source, keep_missing=keep_missing, dry_run=dry_run)

    async def work(pool: Pool) -> ImportView | Unprocessable:
        who, now = Principal(by, Role.SUPPORT), utcnow()
        async with pool.connection() as conn:
            tenant_id = await mutes_tenant(conn, who, tenant)
            zone = await deployment_zone(conn, tenant, deployment)
        try:
            return await imported(pool, tenant_id, zone, body, who, now)
        except Unprocessable as refusal:
            return refusal

    done = with_database(work, database_url, data_dir)
    if isinstance(done, Unprocessable):
        for error in done.errors:
            typer.echo(f"{path}: {error.message}", err=True)
        raise typer.Exit(1)
    if as_json:
        typer.echo(msgspec.json.encode(done).decode())
        return
    verb = "would be " if dry_run else ""
    typer.echo(
        f"{done.added} windows {verb}added, {done.changed} changed, {done.cancelled} cancelled; "
        f"{done.unchanged} unchanged."
    )


def _body(
    path: Path,
    tenant: str,
    deployment: str,
    host: str | None,
    source: str,
    *,
    keep_missing: bool,
    dry_run: bool,
) -> CalendarBody:
    try:
        text = path.read_bytes().decode("utf-8-sig")
        return CalendarBody(
            tenant=tenant,
            deployment=deployment,
            host=host,
            calendar=text,
            source=source,
            keep_missing=keep_missing,
            dry_run=dry_run,
        )
    except (OSError, UnicodeDecodeError) as error:
        typer.echo(f"{path}: cannot be read: {error}", err=True)
    except ValidationError as error:
        for fault in error.errors():
            typer.echo(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}", err=True)
    raise typer.Exit(2)
