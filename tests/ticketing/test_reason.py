"""Reasons: every code has a text, every text is used, and all of them can be told."""

from __future__ import annotations

import ast
from datetime import date
from itertools import product
from pathlib import Path

import pytest

import ticketing
from ticketing.contract import Contract
from ticketing.entitlement import decide
from ticketing.reason import Reason, from_documents, to_documents
from ticketing.reason_texts import TEMPLATES

from .facts import RELEASE, texts
from .test_entitlement import NOON, site

SOURCES = [path for path in Path(ticketing.__file__).parent.glob("*.py") if path.name != "reason_texts.py"]


def written() -> set[str]:
    """Every text constant in the room's sources."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def codes() -> set[str]:
    """The codes that are given to Reason as they stand."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Reason":
                found |= {n.value for n in ast.walk(node.args[0]) if isinstance(n, ast.Constant)}
    return {code for code in found if isinstance(code, str)}


BUILT = ("not-", "calendar-", "waited-", "waiting-", "version-")
"""Prefixes of codes that are put together from a name."""


def test_every_code_has_a_text() -> None:
    assert {code for code in codes() if code not in TEMPLATES and code not in BUILT} == set()


def test_every_text_is_used() -> None:
    """No template outlives the reason that told it."""
    known = written()
    parts = {
        code: next((code.removeprefix(p) for p in BUILT if code.startswith(p)), code) for code in TEMPLATES
    }
    assert [code for code in TEMPLATES if code not in known and parts[code] not in known] == []


@pytest.mark.parametrize("licence", ["perpetual", "subscription", "cloud"])
@pytest.mark.parametrize("plan", ["basic", "gold", "platinum"])
def test_every_decision_can_be_told(licence: str, plan: str) -> None:
    """All priorities, channels, languages and zones of a plan: no reason lacks a text or a word of it."""
    bought = Contract(plan=plan, start=date(2025, 1, 1), end=date(2026, 12, 31))
    worlds = product(
        (1, 4), RELEASE.channels, ("en", "fr", "ja"), ("Europe/Rome", "Asia/Tokyo"), (True, False)
    )
    for priority, channel, language, zone, ready in worlds:
        facts = site(
            licence=licence,
            zone=zone,
            customer_call=ready,
            contacts_24h=int(ready),
            theatre="europe" if ready else "rest-of-world",
        )
        found = decide(facts, bought, NOON, RELEASE, priority=priority, channel=channel, languages=[language])
        for name in ("monitored", "ticket", "sla", "page_technician", "phone_customer"):
            told = texts(getattr(found, name).reasons)
            assert told
            assert not any("{" in text for text in told)


def test_instants_are_told_in_their_zone_and_durations_in_words() -> None:
    """A stored reason carries UTC and a zone; English is written the same whatever the locale."""
    counted = Reason(
        "counted",
        {
            "counted_s": 3661,
            "start_at": "2026-12-24T15:30:00+00:00",
            "end_short": "2026-12-24T16:31:01+00:00",
            "zone": "Europe/Rome",
        },
    )
    assert str(counted) == "1 h 1 min 1 s counted from Thu 24 Dec 2026 16:30 Rome to Thu 24 Dec 17:31:01"
    assert from_documents(to_documents([counted])) == (counted,)
