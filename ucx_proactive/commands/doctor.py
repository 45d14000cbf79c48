"""``ucx-proactive doctor``: what is wrong here? Flags only; see ucx_proactive/checkup.py."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ucx_proactive.checkup import Finding, examine
from ucx_proactive.settings import BadSettings, load

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_MARKS = {True: "ok   ", False: "FAULT"}


@app.command("doctor")
def doctor(
    config: Annotated[
        Path | None,
        typer.Option("--config", envvar="UCX_CONFIG", help="Settings file (YAML).", dir_okay=False),
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where our own database lives.", file_okay=False)
    ] = None,
    database_url: Annotated[str | None, typer.Option(help="An existing PostgreSQL.")] = None,
    host: Annotated[str | None, typer.Option(help="Where 'serve' listens. [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port on which 'serve' listens. [8080]")] = None,
) -> None:
    """Look at settings, database, migrations, partitions, disk, and a running server; say what to do.

    Give it the file or the flags that 'serve' was given. Changes nothing. Ends with 1 when something is at
    fault.
    """
    flags = {"data_dir": data_dir, "database_url": database_url, "host": host, "port": port}
    try:
        settings, rooms = load(
            {name: value for name, value in flags.items() if value is not None}, file=config
        )
    except BadSettings as error:
        findings = [Finding(False, "settings", fault) for fault in error.faults]
    else:
        findings = [Finding(True, "settings", "can be used"), *examine(settings, rooms)]
    for finding in findings:
        typer.echo(f"{_MARKS[finding.well]} {finding.what}: {finding.words}")
    raise typer.Exit(0 if all(finding.well for finding in findings) else 1)
