"""Fixtures every room uses: a fresh, migrated database per test on one server per test run."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
import pytest_asyncio
from hypothesis import settings
from psycopg.conninfo import make_conninfo

from storage.embedded import EmbeddedServer
from storage.migrate import migrate
from storage.pool import Pool, open_pool
from storage.serverconf import FAST_AND_FORGETFUL

_TEMPLATE = "ucx_template"

# A busy machine is no fault of the code: what an example does is judged, not how long it takes.
settings.register_profile("ucx", deadline=None)
settings.load_profile("ucx")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what asks for a program that is not here: ``@pytest.mark.needs("chromium")``."""
    for mark in item.iter_markers("needs"):
        for program in mark.args:
            if shutil.which(program) is None:
                pytest.skip(f"{program} is not installed; ./dev test installs it when run as root on Debian")


@pytest.fixture(scope="session")
def fast_server() -> Iterator[EmbeddedServer]:
    """One server per test run and parallel worker, without durability: tests that kill take ``server``."""
    folder = Path(tempfile.mkdtemp(prefix="ucx-test-"))
    try:
        with EmbeddedServer(folder, settings=FAST_AND_FORGETFUL) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_template(fast_server: EmbeddedServer) -> str:
    """Name of a database with all migrations, to be copied."""
    _execute(fast_server.url, f"CREATE DATABASE {_TEMPLATE}")
    migrate(_with_database(fast_server.url, _TEMPLATE))
    return _TEMPLATE


@pytest.fixture
def database_url(fast_server: EmbeddedServer, migrated_template: str) -> Iterator[str]:
    """A fresh migrated database of this test alone; dropped afterwards with whatever is still connected."""
    name = f"test_{secrets.token_hex(6)}"
    _execute(fast_server.url, f"CREATE DATABASE {name} TEMPLATE {migrated_template} STRATEGY FILE_COPY")
    try:
        yield _with_database(fast_server.url, name)
    finally:
        _execute(fast_server.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database_url(fast_server: EmbeddedServer) -> Iterator[str]:
    """A fresh database without any table."""
    name = f"empty_{secrets.token_hex(6)}"
    _execute(fast_server.url, f"CREATE DATABASE {name}")
    try:
        yield _with_database(fast_server.url, name)
    finally:
        _execute(fast_server.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """An open pool on this test's database."""
    opened = await open_pool(database_url)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A new folder that PostgreSQL's account can reach (pytest's own are closed to it under root)."""
    folder = Path(tempfile.mkdtemp(prefix="ucx-test-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def made_data_dir() -> Iterator[Path]:
    """The data directory of a durable, migrated server that has been stopped: to be copied, because a copy
    takes a tenth of the time that making one takes."""
    folder = Path(tempfile.mkdtemp(prefix="ucx-test-"))
    try:
        with EmbeddedServer(folder) as server:
            migrate(server.url)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def server(data_dir: Path, made_data_dir: Path) -> Iterator[EmbeddedServer]:
    """A running, durable, migrated server for tests that kill; ``server.start()`` restarts it."""
    subprocess.run(["cp", "-a", f"{made_data_dir}/.", str(data_dir)], check=True)  # -a: with its owner
    with EmbeddedServer(data_dir) as running:
        yield running


def _execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(statement.encode())


def _with_database(url: str, name: str) -> str:
    return make_conninfo(url, dbname=name)
