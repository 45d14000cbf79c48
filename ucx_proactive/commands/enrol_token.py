"""``ucx-proactive enrol-token``: a token that enrols one agent. Flags only; see collector/enrolment.py."""

from __future__ import annotations

import getpass
import json
import re
from datetime import datetime, timedelta
from typing import Annotated

import typer

from collector.enrolment import issue_token
from storage.pool import Pool
from ucx_proactive.commands.shared import HERE, DatabaseUrl, DataDir, with_database
from wire.clock import utcnow

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
_TTL = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@app.command("enrol-token")
def enrol_token(
    tenant: Annotated[str, typer.Option(help="Key of the tenant.")],
    deployment: Annotated[str, typer.Option(help="Key of the deployment.")],
    ttl: Annotated[str, typer.Option(help="How long it lives: 30m, 24h, 7d.")] = "24h",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Make a token that enrols one agent of one deployment. It is shown once."""
    life = _life(ttl)
    by = f"cli:{getpass.getuser()}"

    async def make(pool: Pool) -> tuple[str, datetime]:
        async with pool.connection() as conn:
            return await issue_token(conn, tenant, deployment, ttl=life, by=by, now=utcnow())

    token, expires_at = with_database(make, database_url, data_dir)
    until = expires_at.isoformat(timespec="seconds")
    typer.echo(json.dumps({"token": token, "expires_at": until}) if as_json else token)
    if not as_json:
        typer.echo(f"for one agent of {tenant}/{deployment}, until {until}", err=True)


def _life(text: str) -> timedelta:
    match = _TTL.fullmatch(text)
    if match is None:
        raise typer.BadParameter("write it as 30m, 24h or 7d", param_hint="--ttl")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])
