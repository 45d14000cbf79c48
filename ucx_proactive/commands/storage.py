"""``ucx-proactive storage``: what the database holds. Flags only; storage/stats.py works it out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from storage import stats
from storage.pool import Pool
from ucx_proactive.commands.shared import DatabaseUrl, DataDir, with_database

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
    data_dir: DataDir = Path("ucx-data"),
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Rows and bytes by table, largest first, with the days of those kept by time."""
    found = with_database(_read, database_url, data_dir)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    typer.echo(f"{found.server.split(' on ')[0]}, {found.database_bytes / 1e6:,.1f} MB")
    for table in found.tables:
        days = f"{table.partitions} days, {table.oldest} to {table.newest}" if table.partitions else ""
        size, index = table.table_bytes / 1e6, table.index_bytes / 1e6
        typer.echo(f"{table.table:28}{table.rows:14,} rows{size:12,.1f} MB +{index:9,.1f} MB index  {days}")


async def _read(pool: Pool) -> stats.Stats:
    async with pool.connection() as conn:
        return await stats.read(conn)
