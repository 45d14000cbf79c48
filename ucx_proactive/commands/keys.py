"""``ucx-proactive api-key``: keys for people and services. Flags only; collector/keys.py works."""

from __future__ import annotations

import getpass
import json
from typing import Annotated

import typer

from collector import keys
from collector.keys import KeyRow
from storage.pool import Pool
from ucx_proactive.commands.shared import HERE, DatabaseUrl, DataDir, with_database
from wire.access import Role
from wire.clock import utcnow

app = typer.Typer(
    help="API keys for people and services.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def create(
    name: Annotated[str, typer.Option(help="Who or what will use it: shown in audit trails.")],
    role: Annotated[Role, typer.Option(help="What it may do.")] = Role.READER,
    tenant: Annotated[
        str | None, typer.Option(help="Key of its only tenant; without: our own staff.")
    ] = None,
    deployment: Annotated[str | None, typer.Option(help="Key of its only deployment.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Make a key. It is shown once."""

    async def make(pool: Pool) -> tuple[int, str]:
        async with pool.connection() as conn:
            by = f"cli:{getpass.getuser()}"
            return await keys.create(
                conn, name, role, tenant=tenant, deployment=deployment, by=by, now=utcnow()
            )

    made_id, key = with_database(make, database_url, data_dir)
    typer.echo(json.dumps({"api_key_id": made_id, "key": key}) if as_json else key)


@app.command("list")
def list_keys(database_url: DatabaseUrl = None, data_dir: DataDir = HERE) -> None:
    """Show all keys, without the keys themselves."""

    async def read(pool: Pool) -> list[KeyRow]:
        async with pool.connection() as conn:
            return await keys.listed(conn, None)

    for row in with_database(read, database_url, data_dir):
        scope = "/".join(part for part in (row.tenant, row.deployment) if part) or "all tenants"
        state = f"revoked {row.revoked_at:%Y-%m-%d %H:%M}" if row.revoked_at else "in use"
        typer.echo(f"{row.api_key_id:>5}  {row.name:<30} {row.role:<12} {scope:<30} {state}")


@app.command()
def revoke(
    api_key_id: Annotated[int, typer.Argument(help="Number of the key, as 'list' shows it.")],
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Revoke a key: collectors notice within a minute."""

    async def end(pool: Pool) -> bytes:
        async with pool.connection() as conn:
            return await keys.revoke(conn, api_key_id, utcnow(), tenant_id=None)

    with_database(end, database_url, data_dir)
    typer.echo(f"key {api_key_id} is revoked")
