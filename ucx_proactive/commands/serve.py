"""``ucx-proactive serve``: run the product. Flags only; ucx_proactive/serve.py does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer

from storage.faults import EmbeddedError
from storage.migrate import MigrationError
from ucx_proactive.serve import serve as run_process
from ucx_proactive.settings import ROLES, BadSettings, load

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command("serve")
def serve(
    config: Annotated[
        Path | None,
        typer.Option("--config", envvar="UCX_CONFIG", help="Settings file (YAML).", dir_okay=False),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on. [127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 = a free one. [8080]")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where our own database lives. [ucx-data]", file_okay=False)
    ] = None,
    database_url: Annotated[
        str | None, typer.Option(help="An existing PostgreSQL instead of our own.")
    ] = None,
    read_database_url: Annotated[
        str | None, typer.Option(help="A replica of it, to read charts and events from.")
    ] = None,
    roles: Annotated[
        str | None, typer.Option(help=f"all, or some of {','.join(ROLES)} (separated by commas). [all]")
    ] = None,
    public_url: Annotated[
        str | None, typer.Option(help="Where agents, people and the telephone provider reach us.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning, error. [info]")] = None,
) -> None:
    """Run the collector, the sweep, the desk and the pager until told to stop (Ctrl-C, SIGTERM).

    Every setting can also stand in the file or in the environment (UCX_PORT, UCX_COLLECTOR__LINGER_S ...).
    """
    flags: dict[str, Any] = {
        "host": host,
        "port": port,
        "data_dir": data_dir,
        "database_url": database_url,
        "read_database_url": read_database_url,
        "roles": _roles(roles),
        "public_url": public_url,
        "log_level": log_level,
    }
    try:
        settings, rooms = load(
            {name: value for name, value in flags.items() if value is not None}, file=config
        )
        run_process(settings, rooms)
    except BadSettings as error:
        typer.echo(f"serve: {error}", err=True)
        raise typer.Exit(2) from None
    except (EmbeddedError, MigrationError, psycopg.OperationalError, OSError) as error:
        typer.echo(f"serve: {error}", err=True)
        raise typer.Exit(1) from None


def _roles(given: str | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    return ROLES if given == "all" else tuple(word.strip() for word in given.split(","))
