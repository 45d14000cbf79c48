"""``ucx-proactive audit``: the auditor, a process of its own. Flags only; oncall/auditor/ does the work."""

from __future__ import annotations

import asyncio
import signal
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
import yaml

from oncall.auditor import program
from oncall.auditor.files import AnotherAuditor
from oncall.auditor.settings import Settings, faults
from ucx_proactive import logs
from ucx_proactive.commands.shared import checked_url
from ucx_proactive.database import URL_FILE
from wire.clock import utcnow

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class LogLevel(StrEnum):
    """What the log holds: this and what is worse."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@app.command("audit")
def audit(
    config: Annotated[
        Path,
        typer.Option("--config", help="Settings file (YAML).", dir_okay=False),
    ],
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database-url", envvar="UCX_DATABASE_URL", callback=checked_url, help="The database to watch."
        ),
    ] = None,
    data_dir: Annotated[
        Path, typer.Option("--data-dir", envvar="UCX_DATA_DIR", help="Of the 'serve' that runs its own.")
    ] = Path("ucx-data"),
    log_level: Annotated[LogLevel, typer.Option("--log-level", help="How much is told.")] = LogLevel.INFO,
) -> None:
    """Watch on-call from outside: ring through another provider when a critical alert reaches nobody.

    Run it on another machine than 'serve', with another provider's account."""
    settings = _settings(config)
    logs.set_up(log_level)
    try:
        asyncio.run(_run(_url(database_url, data_dir), settings))
    except (AnotherAuditor, OSError) as error:
        typer.echo(f"audit: {error}", err=True)
        raise typer.Exit(1) from None


async def _run(url: str, settings: Settings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await program.run(url, settings, utcnow, stop)


def _url(given: str | None, data_dir: Path) -> str:
    note = data_dir / URL_FILE
    if given is None and not note.exists():
        typer.echo(f"audit: --database-url is needed ({note} is not there: no 'serve' runs here)", err=True)
        raise typer.Exit(2)
    return given or note.read_text(encoding="utf-8").strip()


def _settings(file: Path) -> Settings:
    """Every fault at once, or the settings."""
    try:
        document: Any = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        settings = msgspec.convert(document, Settings)
        wrong = faults(settings)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.ValidationError) as error:
        wrong = [str(error)]
    if wrong:
        for fault in wrong:
            typer.echo(f"{file}: {fault}", err=True)
        raise typer.Exit(2)
    return settings
