"""The real amtool and the real Prometheus server against us, as Debian ships them."""

from __future__ import annotations

import asyncio
import json
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from alerting.published import Alert
from alerting.settings import Settings
from alerting.sweep import Sweep
from tests.alerting.kit import history
from tests.collector.kit import Front, WoundClock, running
from wire.access import Role

RULES = """
groups:
- name: always
  interval: 1s
  rules:
  - alert: AlwaysFiring
    expr: vector(1)
    labels: {severity: critical, instance: "db1:9100"}
    annotations: {summary: "It always fires"}
"""
PROMETHEUS = """
global: {{evaluation_interval: 1s}}
rule_files: [{folder}/rules.yml]
alerting:
  alertmanagers:
  - api_version: v2
    scheme: http
    static_configs: [{{targets: ["{target}"]}}]
    {auth}
"""
ALWAYS = {"labels": {"alertname": "DiskFull", "instance": "db1", "severity": "warning"}}


class Now(WoundClock):
    """The machine's own clock: the programs go by it."""

    def __init__(self) -> None:
        super().__init__(datetime.now(UTC))

    def __call__(self) -> datetime:
        return datetime.now(UTC)


class Amtool:
    """amtool with a key in its http configuration file."""

    def __init__(self, url: str, folder: Path, key: dict[str, str]) -> None:
        self._url = url
        self._config = folder / "http.yml"
        credentials = key["Authorization"].partition(" ")[2]
        self._config.write_text(f"authorization:\n  type: Bearer\n  credentials: {credentials}\n")

    async def __call__(self, *words: str) -> str:
        command = ["amtool", f"--alertmanager.url={self._url}", f"--http.config.file={self._config}", *words]
        return await output(*command)


async def output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    said, complaint = await process.communicate()
    assert process.returncode == 0, complaint.decode()
    return said.decode()


@asynccontextmanager
async def started(database_url: str) -> AsyncIterator[Front]:
    async with running(database_url, Now()) as front:
        await front.customer("acme", "main")
        yield front


async def pushed(front: Front, *alerts: dict[str, Any]) -> None:
    key = await front.key(Role.INTEGRATION, "acme", "main")
    answer = await front.http.post("/api/v2/alerts", json=list(alerts), headers=key)
    assert answer.status_code == 200, answer.text


@pytest.mark.needs("amtool")
async def test_amtool_asks_silences_changes_and_expires(database_url: str) -> None:
    """Alert query and add, silence add, query, update and expire, config, cluster: unmodified."""
    with tempfile.TemporaryDirectory() as folder:
        async with started(database_url) as front:
            amtool = Amtool(front.url, Path(folder), await front.key(Role.SUPPORT, "acme", "main"))
            await pushed(front, ALWAYS)
            assert "DiskFull" in await amtool("alert", "query")
            (found,) = json.loads(await amtool("-o", "json", "alert", "query", "severity=~warn.*"))
            assert (found["labels"]["tenant"], found["status"]["state"]) == ("acme", "active")
            assert "DiskFull" in await amtool("-o", "extended", "alert", "query", "DiskFull")
            assert "DiskFull" not in await amtool("alert", "query", "alertname=Other")
            made = (
                await amtool("silence", "add", "-a", "ada", "-c", "known", "-d", "2h", "DiskFull")
            ).strip()
            assert made in await amtool("silence", "query", "-q")
            (alert,) = json.loads(await amtool("-o", "json", "alert", "query", "--silenced"))
            assert alert["status"]["silencedBy"] == [made]
            assert "DiskFull" not in await amtool("alert", "query", "--active")
            assert "longer" in await amtool("silence", "update", "-d", "5h", "-c", "longer", made)
            (silence,) = json.loads(await amtool("-o", "json", "silence", "query"))
            assert (silence["id"], silence["comment"], silence["createdBy"]) == (made, "longer", "ada")
            await amtool("silence", "expire", made)
            assert made not in await amtool("silence", "query", "-q")
            assert made in await amtool("silence", "query", "-q", "--expired")
            assert "desk" in await amtool("config", "show")
            await amtool("cluster", "show")
            await amtool("alert", "add", "HandMade", "severity=error")
            assert "HandMade" in await amtool("alert", "query")


@pytest.mark.needs("amtool")
async def test_amtool_gets_in_with_the_key_as_password(database_url: str) -> None:
    """Basic credentials, whatever the user's name; a wrong key stays out."""
    async with started(database_url) as front:
        await pushed(front, ALWAYS)
        key = (await front.key(Role.READER, "acme"))["Authorization"].partition(" ")[2]
        with_key = front.url.replace("://", f"://amtool:{key}@")
        assert "DiskFull" in await output("amtool", f"--alertmanager.url={with_key}", "alert", "query")
        wrong = await front.http.get("/api/v2/alerts", auth=("amtool", "ucxk_" + "x" * 43))
        assert wrong.status_code == 401


@pytest.mark.needs("prometheus")
@pytest.mark.parametrize("basic", [False, True], ids=["bearer", "basic"])
async def test_prometheus_pushes_an_alert_that_becomes_ours(database_url: str, basic: bool) -> None:
    """An always-firing rule becomes one P1 of the key's deployment, held by each push, over when it stops."""
    async with started(database_url) as front:
        with tempfile.TemporaryDirectory() as folder:
            key = (await front.key(Role.INTEGRATION, "acme", "main"))["Authorization"].partition(" ")[2]
            async with prometheus(Path(folder), front, key, basic=basic):
                alert = await first(front)
                assert (alert.rule_id, alert.priority, alert.state) == ("pushed.AlwaysFiring", 1, "firing")
                assert (alert.summary, alert.labels["tenant"]) == ("It always fires", "acme")
                held = await expiry(front)
                await until(lambda: later(front, held))
        ((_, steps),) = await history(front.pool)
        assert len(steps) == 1
        at = (await expiry(front)) + timedelta(minutes=6)
        await Sweep(front.pool, Settings(front_door_grace_s=1e9), lambda: datetime.now(UTC)).once()
        await Sweep(front.pool, Settings(front_door_grace_s=1e9), lambda: at).once()
        ((alert, _),) = await history(front.pool)
        assert alert.state == "resolved"


@asynccontextmanager
async def prometheus(
    folder: Path, front: Front, key: str, *, basic: bool = False, rules: str = RULES
) -> AsyncIterator[None]:
    """A Prometheus server with these rules that pushes to us with this key."""
    auth = (
        f"basic_auth: {{username: x, password: {key}}}" if basic else f"authorization: {{credentials: {key}}}"
    )
    target = front.url.removeprefix("http://")
    (folder / "rules.yml").write_text(rules)
    (folder / "prometheus.yml").write_text(PROMETHEUS.format(folder=folder, target=target, auth=auth))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--rules.alert.resend-delay=1s",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def until(ask: Any) -> Any:
    """The first answer that is not empty."""
    async with asyncio.timeout(60):
        while not (found := await ask()):  # noqa: ASYNC110 - what is waited for happens in the database
            await asyncio.sleep(0.1)
    return found


async def first(front: Front) -> Alert:
    found = await until(lambda: history(front.pool))
    alert: Alert = found[0][0]
    return alert


async def expiry(front: Front) -> datetime:
    async with front.pool.connection() as conn:
        row = await (await conn.execute("SELECT expires_at FROM pushed_alert")).fetchone()
    assert row is not None
    at: datetime = row[0]
    return at


async def later(front: Front, than: datetime) -> bool:
    return await expiry(front) > than
