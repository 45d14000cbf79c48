"""``ucx-proactive registry`` and ``ticket``: what they print and how they end."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from storage.pool import open_pool
from ticketing.actions import Actor
from ticketing.reports import report
from ticketing.settings import Settings
from ticketing.shapes import NewTicketBody
from ucx_proactive.commands import registry, ticket

DOCUMENT = """\
products:
  ucx: {name: UCX}
tenants:
  acme:
    name: ACME
    deployments:
      main:
        name: Main
        licence: subscription
        theatre: europe
        zone: Europe/Rome
        country: IT
        products: [ucx]
        contract: {plan: gold, start: 2026-01-01, end: 2027-12-31}
"""


@pytest.fixture
def document(tmp_path: Path) -> Path:
    file = tmp_path / "registry.yaml"
    file.write_text(DOCUMENT)
    return file


def _registry(command: str, file: Path, url: str) -> Result:
    return CliRunner().invoke(registry.app, [command, str(file), "--database-url", url])


def _ticket(*words: str, url: str) -> Result:
    return CliRunner().invoke(ticket.app, [*words, "--database-url", url])


def test_plan_shows_apply_changes_then_nothing_is_left(document: Path, database_url: str) -> None:
    """The difference is shown first and then made; it is then gone."""
    planned = _registry("plan", document, database_url)
    assert (planned.exit_code, "+ tenants.acme.deployments.main.contract" in planned.output) == (0, True)
    assert "4 things would change" in planned.output
    assert "4 things changed" in _registry("apply", document, database_url).output
    assert "0 things changed" in _registry("apply", document, database_url).output


def test_faults_are_told_with_file_and_line(document: Path, database_url: str) -> None:
    """Every fault on a line of its own; exit code 2; nothing changed."""
    document.write_text(DOCUMENT.replace("country: IT", "country: Italy").replace("[ucx]", "[xcu]"))
    refused = _registry("apply", document, database_url)
    assert refused.exit_code == 2
    assert f"{document}:12: tenants.acme.deployments.main.country" in refused.output
    document.write_text(DOCUMENT.replace("[ucx]", "[xcu]"))
    assert (
        f"{document}:13: tenants.acme.deployments.main.products[0]"
        in _registry("plan", document, database_url).output
    )


def test_doubtful_contracts_are_pointed_out(document: Path, database_url: str) -> None:
    """A subscription shorter than its minimum is applied, and a line asks to look at it."""
    document.write_text(DOCUMENT.replace("2027-12-31", "2026-12-31"))
    applied = _registry("apply", document, database_url)
    assert (applied.exit_code, "contract.end: shorter than the minimum" in applied.output) == (0, True)


async def _report(url: str) -> str:
    pool = await open_pool(url, max_size=1)
    body = NewTicketBody(tenant="acme", deployment="main", channel="phone", priority=2, title="No calls")
    at = datetime(2026, 12, 24, 15, 30, tzinfo=UTC)
    try:
        async with pool.connection() as conn:
            case, _ = await report(conn, Settings(), at, Actor("carla", "desk"), body)
            return case.number
    finally:
        await pool.close()


def test_a_ticket_is_shown_with_every_reason(document: Path, database_url: str) -> None:
    """The clock's arithmetic, the contract and the history in plain words; JSON for programs."""
    _registry("apply", document, database_url)
    number = asyncio.run(_report(database_url))
    shown = _ticket("show", number, url=database_url)
    assert shown.exit_code == 0
    for words in (
        "P2",
        "on a subscription licence, covered until",
        "Thu 24 Dec 2026 16:30 Rome",
        "opened",
        "carla",
    ):
        assert words in shown.output, shown.output
    assert json.loads(_ticket("show", number, "--json", url=database_url).output)["number"] == number
    assert number in _ticket("list", url=database_url).output
    assert number not in _ticket("list", "--state", "closed", url=database_url).output


def test_an_unknown_ticket_ends_with_1(database_url: str) -> None:
    """It says so."""
    missing = _ticket("show", "UCX-2026-999999", url=database_url)
    assert (missing.exit_code, "There is no ticket" in missing.output) == (1, True)
