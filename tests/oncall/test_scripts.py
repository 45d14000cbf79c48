"""Whatever the phone company and the callees do: a page is answered or has a next look, and counts once."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from oncall.simulator.script import FaultKind
from storage.pool import Pool
from tests.oncall.lab import Lab, lab
from tests.oncall.world import ANNA, BEN, CARLA, Registry

PROVIDER = [kind.value for kind in FaultKind]
CALLEES = ["auto", "silent", "voicemail", "busy", "no-answer", "wrong-number"]
REQUESTS = 3
SCRIPTS = 6
_FORGOTTEN = """
SELECT count(*) FROM paging p WHERE p.state = 'active'
AND (p.next_look_at IS NULL OR p.next_look_at > now() + interval '10 minutes')
"""
_DONE = f"SELECT count(DISTINCT page_request_id) = {REQUESTS} FROM acknowledgement"
_TWICE = (
    "SELECT count(*) FROM (SELECT FROM acknowledgement GROUP BY tenant_id, page_id HAVING count(*) > 1) d"
)
_UNPRESSED = """
SELECT coalesce(g.bundle_id, g.page_id)::text FROM acknowledgement a JOIN page g USING (tenant_id, page_id)
"""


def scene(seed: int) -> dict[str, Any]:
    """By chance: two unreliable callees before one who answers, up to eight faults of the company."""
    dice = random.Random(seed)
    phones = [{"number": n, "behaviour": dice.choice(CALLEES), "after_s": 1, "key": "4"} for n in (ANNA, BEN)]
    phones[0]["key"] = dice.choice(["4", "5", "1", "9"])
    phones.append({"number": CARLA, "behaviour": "auto", "after_s": 1})
    faults = [{"kind": dice.choice(PROVIDER), "s": 0.15} for _ in range(dice.randrange(9))]
    return {"phones": phones, "faults": faults}


@pytest.mark.parametrize("seed", range(SCRIPTS))
async def test_every_page_is_answered_or_has_a_next_look_at_every_instant(
    pool: Pool, registry: Registry, tmp_path: Path, seed: int
) -> None:
    """Three requests, two pagers, a script by chance. After every single look: each active paging has a next
    look, and no answer stands twice. In the end all are answered, each by a key that was pressed in the call
    that read it out, and no page has two calls.

    Broken twins: an Advance without a time, or a keypress written without its unique page, fail here."""
    for n in range(REQUESTS):
        registry.request(f"problem {n}")
    async with lab(pool, providers=2, journal=tmp_path / "phones.jsonl", talk_s=1.0) as here:
        here.script(**scene(seed))
        pagers = [here.pager(), here.pager()]
        await pagers[0].sync()
        for _ in range(6000):
            for pager in pagers:
                await pager.look()
                assert await here.value(_FORGOTTEN) == 0
                assert await here.value(_TWICE) == 0
            if await here.value(_DONE):
                break
        assert await here.value(_DONE)
        check_calls(here)
        pressed = pressed_pages(tmp_path / "phones.jsonl")
        assert {lead for (lead,) in registry.rows(_UNPRESSED)} <= pressed


def check_calls(here: Lab) -> None:
    """One page, one call."""
    urls = Counter(call.order.url for call in here.exchange.calls.values())
    assert max(urls.values()) == 1


def pressed_pages(journal: Path) -> set[str]:
    """Pages in whose calls key 4 was really pressed, by the company's own journal."""
    lines = [msgspec.json.decode(line) for line in journal.read_bytes().splitlines()]
    urls = {line["sid"]: line["url"] for line in lines if line["kind"] == "placed"}
    sids = {line["sid"] for line in lines if line["kind"] == "pressed" and line["digits"] == "4"}
    return {urls[sid].split("?")[0].split("/")[-2] for sid in sids}
