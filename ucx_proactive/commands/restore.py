"""``ucx-proactive restore``: fill an empty database from a backup. Flags only; storage/backup.py works."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from oncall import switch
from storage.backup import BackupError, Manifest, restore, verify
from storage.faults import EmbeddedError
from storage.migrate import MigrationError, migrate
from storage.pool import open_pool
from ucx_proactive.commands.shared import HERE, DatabaseUrl, DataDir
from ucx_proactive.database import join
from wire.clock import utcnow

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command("restore")
def restore_(
    folder: Annotated[Path, typer.Argument(help="The backup.", exists=True, file_okay=False)],
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Fill an empty database, or a new data directory, from a backup.

    Paging is off in it until a person puts it on: `ucx-proactive oncall paging on --reason ...`.
    """
    try:
        _tell("checking the backup")
        manifest = verify(folder)  # before a new data directory is made for it
        with join(database_url, data_dir, _tell) as url:
            restore(folder, url, _tell, checked=manifest)
            migrate(url, progress=_tell)
            asyncio.run(_keep_quiet(url, manifest))
    except (BackupError, EmbeddedError, MigrationError, psycopg.Error, OSError) as error:
        typer.echo(f"restore: {str(error).strip()}", err=True)
        raise typer.Exit(1) from None
    typer.echo(f"restored what was committed by {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC")
    typer.echo(
        "Paging is off in this copy; when it is to ring people: ucx-proactive oncall paging on --reason '...'"
    )


async def _keep_quiet(url: str, manifest: Manifest) -> None:
    """A copy must not ring people for what happened before it was made. (Killed before this, it stays quiet,
    too: the switch knows that this is another database.)"""
    pool = await open_pool(url, max_size=1)
    reason = f"restored from the backup of {manifest.taken_at.isoformat(timespec='seconds')}"
    try:
        async with pool.connection() as conn:
            await switch.turn(conn, on=False, who="restore", reason=reason, now=utcnow())
    finally:
        await pool.close()


def _tell(line: str) -> None:
    typer.echo(line, err=True)
