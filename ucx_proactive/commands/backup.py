"""``ucx-proactive backup``: a checked copy of the whole database. Flags only; storage/backup.py works."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import psycopg
import typer

from storage.backup import BackupError, backup, verify
from storage.faults import EmbeddedError
from ucx_proactive.commands.shared import HERE, DatabaseUrl, DataDir
from ucx_proactive.database import join
from wire.clock import utcnow

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command("backup")
def backup_(
    folder: Annotated[Path, typer.Argument(help="Where to put it: a folder that does not exist yet.")],
    check: Annotated[bool, typer.Option("--verify", help="Check an existing backup instead.")] = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Copy the whole database into a folder, while everything goes on, and check the copy."""
    try:
        if check:
            manifest = verify(folder)
        else:
            with join(database_url, data_dir, _tell) as url:
                manifest = backup(url, folder, utcnow(), _tell)
    except (BackupError, EmbeddedError, psycopg.Error, OSError) as error:
        typer.echo(f"backup: {str(error).strip()}", err=True)
        raise typer.Exit(1) from None
    size = sum((folder / name).stat().st_size for name in manifest.files)
    typer.echo(f"{folder}: whole, taken at {manifest.taken_at:%Y-%m-%d %H:%M:%S} UTC, {size / 1e6:,.1f} MB")


def _tell(line: str) -> None:
    typer.echo(line, err=True)
