"""Terms: what is kept with a ticket is read back as it was, and only known names get in."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest

from ticketing.errors import ContractError
from ticketing.terms import (
    Sla,
    from_document,
    in_asia_pacific,
    nearest_theatre,
    resolve,
    sla,
    to_document,
    with_plan,
)

from .facts import RELEASE, at, terms, texts


def test_a_snapshot_survives_storage() -> None:
    """As JSON and back, closing days in order and without repeats."""
    days = [date(2026, 12, 24), date(2026, 8, 14), date(2026, 12, 24)]
    binding = terms("platinum", country="IT", region="MI", closing_days=days, languages=["fr"])
    assert binding.closing_days == (date(2026, 8, 14), date(2026, 12, 24))
    assert from_document(json.loads(json.dumps(to_document(binding)))) == binding


@pytest.mark.parametrize(
    "document", [None, [], {}, {"plan": "gold"}, to_document(terms()) | {"colour": "red"}]
)
def test_a_snapshot_of_another_shape_is_refused(document: Any) -> None:
    with pytest.raises(ContractError, match="the ticket's terms cannot be read"):
        from_document(document)


@pytest.mark.parametrize(
    ("plan", "channel", "languages", "worth"),
    [
        ("basic", "portal", ["en"], Sla.BEST_EFFORT),
        ("gold", "portal", ["en"], Sla.GUARANTEED),
        ("gold", "portal", ["de"], Sla.BEST_EFFORT),
        ("gold", "email", ["en"], Sla.NONE),
        ("platinum", "phone", ["it"], Sla.GUARANTEED),
    ],
)
def test_what_a_target_is_worth(plan: str, channel: str, languages: list[str], worth: Sla) -> None:
    """By plan, channel and language."""
    assert sla(RELEASE, terms(plan, channel=channel, languages=languages)) is worth


def test_an_upgrade_changes_the_plan_alone() -> None:
    before = terms("gold", country="DE")
    after = with_plan(RELEASE, before, "platinum")
    assert to_document(after) == to_document(before) | {"plan": "platinum"}
    with pytest.raises(ContractError, match="'tin' is no plan"):
        with_plan(RELEASE, before, "tin")


def test_the_nearest_theatre_follows_the_offset_of_the_day() -> None:
    """Fortaleza (UTC-3) is 2 h from New York in January and 1 h in July."""
    winter, summer = datetime(2026, 1, 5, 12, tzinfo=UTC), datetime(2026, 7, 6, 12, tzinfo=UTC)
    assert nearest_theatre(RELEASE, "America/Fortaleza", winter) == "americas"
    assert nearest_theatre(RELEASE, "America/Fortaleza", summer) == "americas"
    assert nearest_theatre(RELEASE, "Atlantic/Cape_Verde", winter) == "europe"


def test_the_reasons_tell_how_the_terms_came_about() -> None:
    """Theatre, holidays and language each have their reason."""
    _, why = resolve(
        RELEASE,
        plan="gold",
        licence="cloud",
        theatre="rest-of-world",
        zone="Asia/Tokyo",
        country="JP",
        at=at("2026-06-01 10:00"),
        languages=["fr"],
    )
    assert texts(why) == [
        "rest of the world: the hours of Middle East, Monday to Friday, whose UTC offset is nearest to "
        "Asia/Tokyo",
        "public holidays of JP count",
        "handled in fr, optional in Europe (EU & rest of world): the SLA is not guaranteed",
    ]


def test_no_zone_is_not_asia_pacific() -> None:
    assert not in_asia_pacific(RELEASE, None)
    assert in_asia_pacific(RELEASE, "Australia/Perth")
