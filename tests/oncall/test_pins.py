"""Issuing PINs, by command and over HTTP: shown once, to whom it is due, told in words when refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest_asyncio
from typer.testing import CliRunner

from oncall import inbound_api
from oncall.settings import Settings
from storage.pool import Pool
from tests.oncall.world import web
from tests.ticketing.desk_world import World, registry
from ucx_proactive.commands.oncall import app
from wire.access import Principal, Role
from wire.clock import utcnow

SECRET = "0123456789abcdef0123456789abcdef"
OURS = {"tenant": "platinum-co", "deployment": "main"}


@pytest_asyncio.fixture
async def customer(pool: Pool) -> Pool:
    """One Platinum customer."""
    await World(pool).registry(
        registry({"platinum-co": "plan: platinum, start: 2024-01-01, autorenew: true"})
    )
    return pool


async def posted(pool: Pool, who: Principal, path: str, body: dict[str, str]) -> httpx.Response:
    """One request with that key."""
    settings = Settings(pin_secret=SECRET)
    ours = web(pool, settings, who)
    ours.include_router(inbound_api.router(pool, settings, utcnow))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(ours), base_url="http://ours") as http:
        return await (
            http.get(f"/v1/oncall/{path}") if not body else http.post(f"/v1/oncall/{path}", json=body)
        )


async def test_administrators_of_ours_issue_replace_and_revoke_over_http(customer: Pool) -> None:
    """The PIN is in the answer that makes it and nowhere else; what cannot be done is a 409 that says what
    to do; readers, support and customers' own administrators are refused."""
    admin = Principal("sofia", Role.ADMIN)
    first = await posted(customer, admin, "pins", OURS)
    assert (first.status_code, len(first.json()["pin"])) == (201, 10)
    again = await posted(customer, admin, "pins", OURS)
    assert (again.status_code, "rotate" in again.json()["detail"]) == (409, True)
    second = await posted(customer, admin, "pins/rotate", OURS)
    assert second.json()["pin"] != first.json()["pin"]
    shown = await posted(customer, admin, "pins", {})
    assert [entry["issued_by"] for entry in shown.json()["pins"]] == ["sofia", "sofia"]
    assert first.json()["pin"] not in shown.text
    assert (await posted(customer, admin, "pins/revoke", OURS)).status_code == 204
    assert (await posted(customer, admin, "pins/revoke", OURS)).status_code == 409
    assert (await posted(customer, admin, "pins", OURS | {"tenant": "nobody"})).status_code == 409
    assert (await posted(customer, admin, "pins", OURS | {"tenant": "No Body"})).status_code == 422
    for who in (Principal("r", Role.READER), Principal("s", Role.SUPPORT), Principal("c", Role.ADMIN, 1)):
        for path, body in (("pins", OURS), ("pins/rotate", OURS), ("pins/revoke", OURS), ("pins", {})):
            assert (await posted(customer, who, path, body)).status_code == 403


async def test_the_command_shows_a_pin_once_and_says_what_is_wrong(
    customer: Pool, database_url: str, tmp_path: Path
) -> None:
    """Issue, list, rotate, revoke; each refusal ends with 2 and a line."""
    config = tmp_path / "serve.yaml"
    config.write_text(f"oncall: {{pin_secret: {SECRET}}}\n")

    async def run(*words: str, settings: bool = True) -> tuple[int, str]:
        more = ["--config", str(config)] if settings else []
        line = ["pin", *words, "--database-url", database_url, *more]
        result = await asyncio.to_thread(CliRunner().invoke, app, line, env={"UCX_CONFIG": ""})
        return result.exit_code, result.output

    code, text = await run("issue", "platinum-co/main")
    pin = text.splitlines()[0]
    assert (code, len(pin.replace(" ", "")), pin[5]) == (0, 10, " ")
    code, text = await run("list", settings=False)
    assert (code, "in force; never used" in text, pin in text) == (0, True, False)
    for words, why in (
        (("issue", "platinum-co/main"), "rotate"),
        (("issue", "platinum-co"), "TENANT/DEPLOYMENT"),
        (("rotate", "nobody/main"), "there is no deployment nobody/main"),
    ):
        code, text = await run(*words)
        assert (code, why in text) == (2, True), text
    assert (await run("rotate", "platinum-co/main"))[0] == 0
    assert (await run("revoke", "platinum-co/main", settings=False))[0] == 0
    assert (await run("revoke", "platinum-co/main", settings=False))[0] == 2
    config.write_text("oncall: {pin_secret: short}\n")
    code, text = await run("issue", "platinum-co/main")
    assert (code, "at least 32" in text) == (2, True)
    config.write_text("{}\n")
    code, text = await run("issue", "platinum-co/main")
    assert (code, "oncall.pin_secret" in text) == (2, True)
