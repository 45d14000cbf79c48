"""The paging switch, and how a restored copy is kept from ringing people."""

from __future__ import annotations

from oncall import switch
from storage.pool import Pool
from tests.oncall.lab import lab
from tests.oncall.world import ANNA, NOON, Registry


async def test_a_restored_copy_rings_nobody_until_a_person_confirms(pool: Pool) -> None:
    """The database says that it was confirmed elsewhere: off, with the reason; on again only by a person."""
    async with pool.connection() as conn:
        assert await switch.is_on(conn, NOON)
        await conn.execute("UPDATE paging_home SET identity = 'another cluster/1'")
        assert not await switch.is_on(conn, NOON)
        assert not await switch.is_on(conn, NOON)
        found = await switch.read(conn)
        assert (found.on, found.who) == (False, switch.FINDER)
        assert "another cluster/1" in found.reason
        await switch.turn(conn, on=True, who="sofia", reason="the old one is gone", now=NOON)
        assert await switch.is_on(conn, NOON)
        row = await (await conn.execute("SELECT count(*) FROM paging_switch")).fetchone()
        assert row == (2,)


async def test_off_means_that_the_pager_rings_nobody_and_on_that_it_goes_on(
    pool: Pool, registry: Registry
) -> None:
    """Switched off before the request came: no call; switched on: the phone rings."""
    registry.request()
    async with lab(pool) as here:
        here.script(phones=[{"number": ANNA, "behaviour": "auto", "after_s": 1}])
        async with pool.connection() as conn:
            await switch.turn(conn, on=False, who="sofia", reason="exercise", now=NOON)
        pager = here.pager()
        await pager.sync()
        assert not await pager.look()
        assert here.called() == []
        async with pool.connection() as conn:
            await switch.turn(conn, on=True, who="sofia", reason="over", now=NOON)
        await pager.sync()
        await here.look_until("SELECT true FROM acknowledgement")
        assert here.called() == [ANNA]
