"""``ucx-proactive storage``: what the database holds. Flags only; storage/stats.py works it out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from storage import stats
from storage.pool import Pool
from ucx_proactive.commands.shared import HERE, DatabaseUrl, DataDir, with_database
from ucx_proactive.retention import kept
from ucx_proactive.settings import BadSettings, load

app = typer.Typer(
    help="What the database holds.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _group() -> None:
    """What the database holds."""


@app.command("stats")
def stats_(
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
    config: Annotated[
        Path | None,
        typer.Option("--config", envvar="UCX_CONFIG", help="Settings file (YAML): how long what is kept."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Rows and bytes by table, largest first; how long rows are kept; the days of tables in pieces."""
    try:
        keep = kept(load({}, file=config)[1])
    except BadSettings as error:
        typer.echo(f"storage stats: {error}", err=True)
        raise typer.Exit(2) from None
    found = with_database(_read, database_url, data_dir)
    if as_json:
        typer.echo(msgspec.json.encode(msgspec.to_builtins(found) | {"kept": keep}).decode())
        return
    typer.echo(f"{found.server.split(' on ')[0]}, {found.database_bytes / 1e6:,.1f} MB")
    for table in found.tables:
        days = f"{table.partitions} days, {table.oldest} to {table.newest}" if table.partitions else ""
        size, index = table.table_bytes / 1e6, table.index_bytes / 1e6
        row = f"{table.table:28}{table.rows:14,} rows{size:12,.1f} MB +{index:9,.1f} MB index"
        typer.echo(f"{row}  {keep.get(table.table, 'for ever'):>9}  {days}".rstrip())


async def _read(pool: Pool) -> stats.Stats:
    async with pool.connection() as conn:
        return await stats.read(conn)
