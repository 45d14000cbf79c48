"""Questions asked together: each gets its own answer, and few go out."""

from __future__ import annotations

import asyncio

import pytest

from collector.together import MOST, Together


async def test_what_comes_while_one_is_asked_goes_together() -> None:
    """A hundred at once cost two questions at most; what nobody knows is None; a key is asked once.

    Broken twin, tried: a loader that asks as soon as it is called asks a hundred times."""
    asked: list[list[int]] = []

    async def load(keys: list[int]) -> dict[int, str]:
        asked.append(keys)
        await asyncio.sleep(0)
        return {key: str(key) for key in keys if key != 7}

    together = Together(load)
    answers = await asyncio.gather(*(together.ask(n % 50) for n in range(100)))
    assert answers == [None if n % 50 == 7 else str(n % 50) for n in range(100)]
    assert sum(map(len, asked)) == 50
    assert len(asked) <= 2
    assert await together.ask(3) == "3"


async def test_an_answer_is_younger_than_its_question() -> None:
    """Asked while the same is under way: not that answer, which may be of before, but the next one."""
    begun, go = asyncio.Event(), asyncio.Event()
    count = 0

    async def load(keys: list[int]) -> dict[int, int]:
        nonlocal count
        count += 1
        mine = count
        begun.set()
        await go.wait()
        return dict.fromkeys(keys, mine)

    together = Together(load)
    first = asyncio.create_task(together.ask(1))
    await begun.wait()
    second = asyncio.create_task(together.ask(1))
    await asyncio.sleep(0)
    go.set()
    assert [await first, await second] == [1, 2]


async def test_a_fault_reaches_all_who_wait_and_nobody_else() -> None:
    """The database is away: those questions fail, the next one is asked anew; one given up harms none."""
    faults = [OSError("away")]

    async def load(keys: list[int]) -> dict[int, int]:
        await asyncio.sleep(0.01)
        if faults:
            raise faults.pop()
        return {key: key for key in keys}

    together = Together(load)
    given_up = asyncio.create_task(together.ask(9))
    waiting = [asyncio.create_task(together.ask(n)) for n in range(3)]
    await asyncio.sleep(0)
    given_up.cancel()
    failed = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(fault, OSError) for fault in failed)
    assert await together.ask(1) == 1


async def test_no_more_at_once_than_a_statement_should_carry() -> None:
    """The rest goes with the next."""
    sizes: list[int] = []

    async def load(keys: list[int]) -> dict[int, int]:
        sizes.append(len(keys))
        return {key: key for key in keys}

    together = Together(load)
    await asyncio.gather(*(together.ask(n) for n in range(MOST + 5)))
    assert sizes == [MOST, 5]


@pytest.mark.parametrize("fault", [ValueError("x"), KeyError("y")])
async def test_whatever_the_fault_the_next_is_asked(fault: Exception) -> None:
    """No fault of one question leaves the asker dead."""
    faults = [fault]

    async def load(keys: list[int]) -> dict[int, int]:
        if faults:
            raise faults.pop()
        return {key: key for key in keys}

    together = Together(load)
    with pytest.raises(type(fault)):
        await together.ask(1)
    assert await together.ask(1) == 1
