"""Reading from a replica: a real streaming one, made by pg_basebackup; never newer in words than in fact."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from storage import account
from storage.embedded import EmbeddedServer
from storage.pool import Pool, open_pool
from storage.replica import Connection, ReadPool, usable
from tests.collector.kit import running
from tests.oncall.world import free_port
from wire.access import Role

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
LAG = timedelta(seconds=30)


def test_a_replica_serves_while_it_is_one_and_near() -> None:
    """Promoted, empty or too far behind it does not; to the second it does."""
    assert usable(True, NOW - LAG, NOW, LAG) == ""
    assert "31 s old" in usable(True, NOW - LAG - timedelta(seconds=1), NOW, LAG)
    assert "no replica" in usable(False, NOW, NOW, LAG)
    assert "not replayed" in usable(True, None, NOW, LAG)


class Replica:
    """A streaming replica of an embedded server, in a folder of its own."""

    def __init__(self, primary: EmbeddedServer, folder: Path) -> None:
        self._primary = primary
        self._data = folder / "replica"
        self._port = free_port()
        self.url = make_conninfo(primary.url, host="127.0.0.1", port=self._port)
        self._run(
            "pg_basebackup", "-D", self._data, "-R", "-X", "stream", "-c", "fast", "-d", _replication(primary)
        )

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c port={self._port}"
        log = self._data / "replica.log"
        self._run("pg_ctl", "start", "-D", self._data, "-w", "-s", "-l", log, "-o", options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-D", self._data, "-w", "-s", "-m", "immediate")

    def pause(self, paused: bool) -> None:
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute("SELECT pg_wal_replay_pause()" if paused else "SELECT pg_wal_replay_resume()")

    def caught_up(self, wal: str) -> None:
        until = time.monotonic() + 30
        with psycopg.connect(self.url, autocommit=True) as conn:
            while conn.execute("SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", (wal,)).fetchone() != (True,):
                assert time.monotonic() < until
                time.sleep(0.02)

    def _run(self, program: str, *words: object) -> None:
        command: list[str | Path] = [self._primary._binaries.program(program), *map(str, words)]
        with (self._primary.data_dir / "replica.out").open("wb") as output:
            done = account.run(
                command,
                self._primary._account,
                cwd=self._primary.data_dir,
                env={},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        said = (self._primary.data_dir / "replica.out").read_text()
        assert done.returncode == 0, said


def _replication(primary: EmbeddedServer) -> str:
    parts = {name: value for name, value in conninfo_to_dict(primary.url).items() if name != "dbname"}
    return make_conninfo("", **parts)


@pytest.fixture
def replica(server: EmbeddedServer) -> Iterator[Replica]:
    """Running, beside ``server``."""
    made = Replica(server, server.data_dir)
    made.start()
    try:
        yield made
    finally:
        made.stop()


async def _wal(pool: Pool) -> str:
    async with pool.connection() as conn:
        row = await (await conn.execute("SELECT pg_current_wal_lsn()::text")).fetchone()
        assert row is not None
        return str(row[0])


async def _beat(pool: Pool) -> datetime:
    """Commit something; the primary's time after it."""
    async with pool.connection() as conn:
        await conn.execute(
            "INSERT INTO front_door VALUES (true, now(), now())"
            " ON CONFLICT (one) DO UPDATE SET proven_at = now()"
        )
        row = await (await conn.execute("SELECT clock_timestamp()")).fetchone()
    assert row is not None
    at: datetime = row[0]
    return at


async def _seen(conn: Connection) -> tuple[bool, datetime]:
    row = await (await conn.execute("SELECT pg_is_in_recovery(), proven_at FROM front_door")).fetchone()
    assert row is not None
    return row[0], row[1]


async def test_charts_come_from_the_replica_with_its_time_and_from_the_primary_without_it(
    server: EmbeddedServer, replica: Replica
) -> None:
    """Caught up, it answers, and says as of when. While replay stands still, what it shows and the time that
    it names stay behind together. Too far behind, and dead, the primary answers, with what is newest.

    Broken twin: with the primary's time as the answer's, a chart without the newest values is said to have
    them."""
    primary = await open_pool(server.url)
    copy = await open_pool(replica.url)
    moment = [0.0]
    reads = ReadPool(primary, copy, timedelta(hours=1), lambda: moment[0])
    try:
        for number in (1, 2):
            written = await _beat(primary)
            if number == 1:
                await asyncio.to_thread(replica.caught_up, await _wal(primary))
                await asyncio.to_thread(replica.pause, True)
            async with reads.view() as view:
                recovering, seen = await _seen(view.conn)
                assert recovering
                assert seen <= view.as_of <= written
                behind = written - view.as_of
        near = ReadPool(primary, copy, behind / 2, lambda: moment[0])
        async with near.view() as view:
            assert await (await view.conn.execute("SELECT pg_is_in_recovery()")).fetchone() == (False,)
            assert view.as_of >= written
        await asyncio.to_thread(replica.pause, False)
        await asyncio.to_thread(replica.stop)
        async with reads.view() as view:
            assert await (await view.conn.execute("SELECT pg_is_in_recovery()")).fetchone() == (False,)
        await asyncio.to_thread(replica.start)
        for _ in range(30):  # connections come back by themselves; the replica has replayed something again
            moment[0] += 60
            await _beat(primary)
            async with reads.view() as view:
                row = await (await view.conn.execute("SELECT pg_is_in_recovery()")).fetchone()
            if row == (True,):
                break
        assert row == (True,)
    finally:
        await primary.close()
        await copy.close()


async def test_the_api_says_as_of_when(database_url: str) -> None:
    """Also without a replica: the header is the time of reading."""
    async with running(database_url) as front:
        agent = await front.agent()
        await agent.send((front.clock(), [0.5, 0.5]))
        headers = await front.key(Role.READER)
        host = (await front.http.get("/v1/hosts", headers=headers)).json()[0]["host_id"]
        before = datetime.now(UTC)
        for path in (
            f"/v1/hosts/{host}/latest",
            f"/v1/series?host={host}&metric=system.cpu.utilization",
            f"/v1/events?host={host}",
        ):
            answer = await front.http.get(path, headers=headers)
            assert answer.status_code == 200
            assert datetime.fromisoformat(answer.headers["UCX-As-Of"]) >= before
