"""Workers that end are started again; the end of the process waits for them."""

from __future__ import annotations

import asyncio
import logging

import pytest

from ucx_proactive import supervise
from ucx_proactive.supervise import Supervisor


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(supervise, "LONGEST_PAUSE_S", 0.004)


async def test_a_worker_that_raises_runs_again_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Twice it breaks, the third time it stays; its state and the log tell."""
    stop, settled = asyncio.Event(), asyncio.Event()
    runs = 0

    async def work(halt: asyncio.Event) -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise ValueError(f"run {runs}")
        settled.set()
        await halt.wait()

    supervisor = Supervisor()
    supervisor.add("worker", work)
    with caplog.at_level(logging.ERROR):
        task = asyncio.create_task(supervisor.run(stop))
        await settled.wait()
        state = supervisor.states["worker"]
        assert (state.running, state.restarts) == (True, 2)
        assert "run 2" in state.last_error
        stop.set()
        await task
    assert "run 1" in caplog.text
    assert not supervisor.states["worker"].running


async def test_a_worker_that_returns_by_itself_is_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody told it to end: it is started again."""
    stop, twice = asyncio.Event(), asyncio.Event()
    runs = 0

    async def work(_: asyncio.Event) -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            twice.set()

    supervisor = Supervisor()
    supervisor.add("worker", work)
    task = asyncio.create_task(supervisor.run(stop))
    await twice.wait()
    stop.set()
    await task
    assert "without being asked" in supervisor.states["worker"].last_error


async def test_one_workers_trouble_does_not_touch_the_others() -> None:
    """The healthy one runs through, and its end is waited for."""
    stop, broken_often = asyncio.Event(), asyncio.Event()
    ended: list[str] = []

    async def ill(_: asyncio.Event) -> None:
        if supervisor.states["ill"].restarts == 3:
            broken_often.set()
        raise OSError

    async def well(halt: asyncio.Event) -> None:
        await halt.wait()
        await asyncio.sleep(0.01)
        ended.append("well")

    supervisor = Supervisor()
    supervisor.add("ill", ill)
    supervisor.add("well", well)
    task = asyncio.create_task(supervisor.run(stop))
    await broken_often.wait()
    assert supervisor.states["well"].restarts == 0
    stop.set()
    await task
    assert ended == ["well"]
