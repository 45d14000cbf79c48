"""``ucx-proactive migrate``: bring a database's tables up to date. Flags only; storage/migrate.py works."""

from __future__ import annotations

from typing import Annotated

import psycopg
import typer

from storage import migrate as migrations
from storage.faults import EmbeddedError
from ucx_proactive.commands.shared import HERE, DatabaseUrl, DataDir
from ucx_proactive.database import join

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

DryRun = Annotated[bool, typer.Option("--plan", help="Show what would be applied, and change nothing.")]


@app.command("migrate")
def migrate(dry_run: DryRun = False, database_url: DatabaseUrl = None, data_dir: DataDir = HERE) -> None:
    """Bring the database's tables up to date.

    Safe at any time and from several places at once: one process applies, the others wait. `serve` does the
    same at its start; this command is for those who want it as a step of its own.
    """
    try:
        with join(database_url, data_dir, typer.echo) as url:
            if dry_run:
                _show(migrations.plan(url))
            else:
                _apply(url)
    except (EmbeddedError, migrations.MigrationError, psycopg.OperationalError) as error:
        typer.echo(f"migrate: {str(error).strip()}", err=True)
        raise typer.Exit(1) from error


def _show(plan: migrations.Plan) -> None:
    typer.echo(plan.describe())
    for migration in plan.pending:
        typer.echo(f"would apply {migration.name}")


def _apply(database_url: str) -> None:
    done = migrations.migrate(database_url, progress=typer.echo)
    typer.echo("up to date" if done.pending else "up to date, nothing to do")
