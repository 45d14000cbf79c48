"""``ucx-proactive settings``: every setting, what it means and its default. Flags only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ucx_proactive.settings import BadSettings, load
from ucx_proactive.settings_text import settings_text

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command("settings")
def settings(
    check: Annotated[
        Path | None,
        typer.Option("--check", help="Say what is wrong with this file instead.", dir_okay=False),
    ] = None,
) -> None:
    """Print a settings file with every setting, explained: `ucx-proactive settings > serve.yaml`."""
    if check is None:
        typer.echo(settings_text(), nl=False)
        return
    try:
        load({}, file=check)
    except BadSettings as error:
        typer.echo(f"{check} cannot be used; {error}", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{check} can be used.")
