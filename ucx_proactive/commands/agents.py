"""``ucx-proactive agent``: who may send, and how to end that. Flags only; collector/agents.py works."""

from __future__ import annotations

import getpass
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer

from collector import agents
from collector.agents import AgentRow
from storage.pool import Pool
from ucx_proactive.commands.shared import HERE, DatabaseUrl, DataDir, with_database
from wire.clock import utcnow

app = typer.Typer(
    help="Agents and their credentials.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command("list")
def list_agents(database_url: DatabaseUrl = None, data_dir: DataDir = HERE) -> None:
    """Show all agents, newest first."""

    async def read(pool: Pool) -> list[AgentRow]:
        async with pool.connection() as conn:
            return await agents.listed(conn, None)

    for row in with_database(read, database_url, data_dir):
        state = f"{row.revoked_why} ({row.revoked_at:%Y-%m-%d %H:%M})" if row.revoked_at else "in use"
        typer.echo(f"{row.agent_id.hex}  {row.tenant}/{row.deployment}/{row.host:<30} {state}")


@app.command()
def revoke(
    agent_id: Annotated[UUID, typer.Argument(help="Id of the agent, as 'list' shows it.")],
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Revoke an agent's credential: collectors notice within a minute."""

    async def end(pool: Pool) -> datetime:
        async with pool.connection() as conn:
            by = f"cli:{getpass.getuser()}"
            return await agents.revoke(conn, agent_id, utcnow(), by=by, tenant_id=None)

    since = with_database(end, database_url, data_dir)
    typer.echo(f"agent {agent_id.hex} is revoked since {since:%Y-%m-%d %H:%M:%S} UTC")
