"""Who is next: the policy's ladder and the rota, and what stands in when a document is missing or wrong."""

from __future__ import annotations

from datetime import timedelta

from oncall.paging import Position
from oncall.roster import save
from oncall.settings import Settings
from oncall.targets import Ladder
from storage.pool import Pool
from tests.oncall.test_page import NOW
from tests.oncall.test_paging import paging
from tests.oncall.world import ANNA, BEN, Registry

ROTA = """
zone: Europe/Rome
schedules:
  primary:
    layers: [{name: week, people: [anna, ben], starts: 2026-03-02 09:00, every: week}]
policies:
  default:
    rounds: 2
    steps:
      - {who: {schedule: primary}, how: [voice], ring: 30s, wait: 60s}
      - {who: {person: ben}, how: [voice], ring: 30s, wait: 60s}
"""


async def test_the_rota_in_force_says_who_is_next(pool: Pool, registry: Registry) -> None:
    """Step 1 the person on shift, step 2 the one named, then nothing more in the first round."""
    ladder = Ladder(Settings(persons=("carla",)))
    async with pool.connection() as conn:
        await save(conn, ROTA, NOW, "sofia", 3600)
        this_week, next_week = NOW, NOW + timedelta(days=7)
        found = [
            await ladder(conn, paging(step), now) for now in (this_week, next_week) for step in (0, 1, 2)
        ]
        resort = await ladder(conn, paging(2, 1, 2), next_week)
    addresses = [step.targets[0].address if step else None for step in found]
    assert addresses == [ANNA, BEN, None, BEN, BEN, None]
    assert found[0] is not None
    assert (found[0].wait_s, found[0].why) == (60.0, "step 1 of 'default': schedule primary")
    assert resort is not None
    assert "last resort" in resort.why


async def test_without_a_rota_everybody_is_rung_in_turn(pool: Pool, registry: Registry) -> None:
    """No document, or a policy it does not know: the list, and the reason says so."""
    ladder = Ladder(Settings())
    async with pool.connection() as conn:
        bare = [await ladder(conn, paging(step), NOW) for step in range(4)]
        await save(conn, ROTA.replace("default:", "other:"), NOW, "sofia", 3600)
        unknown = await ladder(conn, paging(), NOW + timedelta(seconds=5))
    assert [step.targets[0].name if step else None for step in bare] == ["Anna", "Ben", "Carla", None]
    assert unknown is not None
    assert "no paging policy 'default' is saved" in unknown.why


async def test_a_rota_that_cannot_be_read_silences_nobody(pool: Pool, registry: Registry) -> None:
    """A document that an older or newer program saved: the list is rung."""
    registry.run("INSERT INTO rota_document (document, saved_at, saved_by) VALUES ('{', now(), 'x')")
    async with pool.connection() as conn:
        found = await Ladder(Settings())(conn, paging(), NOW)
    assert found is not None
    assert found.targets[0].address == ANNA
    assert paging().position == Position(0, 1, 1)


QUIET = """
zone: Europe/Rome
people:
  anna: {name: Anna, phone: "+390584000001", languages: [en], quiet: "22:00-07:00"}
schedules:
  primary:
    layers: [{name: week, people: [anna], starts: 2026-03-02 09:00, every: week}]
policies:
  default:
    rounds: 2
    steps:
      - {who: {schedule: primary}, how: [voice, sms], ring: 30s, wait: 60s}
"""


async def test_a_rota_that_cannot_be_followed_silences_nobody(pool: Pool, registry: Registry) -> None:
    """The registry took a time zone that this machine's older tables do not know, and somebody has quiet
    hours: the list is rung.

    Broken twin (tried): the look failed, was tried again and failed, for ever: nobody was rung."""
    async with pool.connection() as conn:
        await save(conn, QUIET, NOW, "sofia", 3600)
        registry.run("UPDATE person SET zone = 'Mars/Olympus'")
        found = await Ladder(Settings())(conn, paging(), NOW)
    assert found is not None
    assert found.targets[0].address == ANNA
    assert "a fault in the rota" in found.why


HOLE = """
zone: Europe/Rome
schedules:
  primary:
    layers: [{name: week, people: [anna], starts: 2026-03-02 09:00, every: week}]
policies:
  default:
    rounds: 1
    steps:
      - {who: {role: support-manager}, how: [voice], ring: 30s, wait: 60s}
"""


async def test_a_policy_that_reaches_nobody_ends_at_people_all_the_same(
    pool: Pool, registry: Registry
) -> None:
    """The only step names a role that nobody holds any more: in the second round everybody with a phone is
    rung, or those who hold the role on-call, or those whom the settings name.

    Broken twin: a last resort only where the settings name one rings nobody, for ever (seen: it was so)."""
    registry.run("""UPDATE person SET roles = '[{"role": "support-manager"}]' WHERE key = 'carla'""")
    async with pool.connection() as conn:
        await save(conn, HOLE, NOW, "sofia", 3600)
        registry.run("UPDATE person SET roles = '[]'")
        first = await Ladder(Settings())(conn, paging(0), NOW)
        everybody = [await Ladder(Settings())(conn, paging(step, 1, 2), NOW) for step in (1, 2, 3, 4)]
        registry.run("""UPDATE person SET roles = '[{"role": "on-call"}]' WHERE key = 'ben'""")
        by_role = [await Ladder(Settings())(conn, paging(step, 1, 2), NOW) for step in (1, 2)]
        named = await Ladder(Settings(persons=("carla",)))(conn, paging(1, 1, 2), NOW)
    assert first is not None
    assert first.targets == ()
    assert [step and step.targets[0].name for step in everybody] == ["Anna", "Ben", "Carla", None]
    assert [step and step.targets[0].name for step in by_role] == ["Ben", None]
    assert named is not None
    assert named.targets[0].name == "Carla"
