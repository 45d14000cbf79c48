"""Cover in time: starts, renewals, grace, automatic renewal, plan changes, and the release that binds."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketing.contract import (
    Contract,
    Cover,
    PlanChange,
    Renewal,
    cover,
    doubts,
    end_after,
    licence_rules,
    release_in_force,
)
from ticketing.errors import ContractError

from .facts import RELEASE, texts

RULES = RELEASE.licences


def on(contract: Contract | None, licence: str, day: str) -> Cover:
    """The cover at noon UTC of a day."""
    when = date.fromisoformat(day)
    return cover(contract, RULES[licence], datetime(when.year, when.month, when.day, 12, tzinfo=UTC), when)


def codes(found: Cover) -> list[str]:
    return [reason.code for reason in found.reasons]


def year(**kwargs: Any) -> Contract:
    """Gold from 1 July 2025 to 30 June 2026."""
    given: dict[str, Any] = {"plan": "gold", "start": date(2025, 7, 1), "end": date(2026, 6, 30)} | kwargs
    return Contract(**given)


def renewed(ordered: str, **kwargs: Any) -> Contract:
    return year(renewals=(Renewal(ordered=date.fromisoformat(ordered), years=1, **kwargs),))


@pytest.mark.parametrize(
    ("day", "status"),
    [
        ("2025-06-30", "not-started"),
        ("2025-07-01", "covered"),
        ("2026-06-30", "covered"),
        ("2026-07-01", "lapsed"),
        ("2026-07-30", "lapsed"),
        ("2027-01-01", "lapsed"),
    ],
)
@pytest.mark.parametrize("licence", ["perpetual", "subscription", "cloud"])
def test_a_contract_covers_from_its_first_to_its_last_day(licence: str, day: str, status: str) -> None:
    """Until a renewal is recorded, lapsed means not entitled, in the grace too."""
    assert on(year(), licence, day).status == status


def test_the_grace_says_until_when_a_renewal_continues() -> None:
    """Perpetual, 20 days after the expiry: not covered, and a renewal until 30 July still continues."""
    found = on(year(), "perpetual", "2026-07-20")
    assert (found.status, codes(found)) == ("lapsed", ["lapsed", "grace-open"])
    assert "until Thu 30 Jul 2026" in texts(found.reasons)[1]
    assert codes(on(year(), "perpetual", "2026-07-31")) == ["lapsed"]
    assert codes(on(year(), "subscription", "2026-07-20")) == ["lapsed"], "no 30-day clause"


@pytest.mark.parametrize(
    ("ordered", "code", "gap_covered", "last"),
    [
        ("2026-06-01", "renewed-active", True, "2027-06-30"),
        ("2026-06-30", "renewed-active", True, "2027-06-30"),
        ("2026-07-01", "renewed-in-grace", True, "2027-06-30"),
        ("2026-07-29", "renewed-in-grace", True, "2027-06-30"),
        ("2026-07-30", "renewed-in-grace", True, "2027-06-30"),  # exactly 30 days
        ("2026-07-31", "renewed-late", False, "2027-07-30"),
        ("2026-12-01", "renewed-late", False, "2027-11-30"),
    ],
)
def test_perpetual_renewals_around_the_30_days(ordered: str, code: str, gap_covered: bool, last: str) -> None:
    """Active or lapsed up to 30 days: cover continues from the old expiry; later: from the order."""
    contract = renewed(ordered)
    found = on(contract, "perpetual", ordered if ordered > "2026-06-30" else "2026-07-01")
    assert (found.status, codes(found)) == ("covered", ["covered", code])
    assert (on(contract, "perpetual", "2026-07-01").status == "covered") is gap_covered
    assert on(contract, "perpetual", last).status == "covered"
    after = date.fromisoformat(last) + timedelta(days=1)
    assert on(contract, "perpetual", after.isoformat()).status == "lapsed"


def test_the_grace_may_exclude_its_last_day_by_policy() -> None:
    """The setting ``grace_includes_last_day: false`` makes exactly 30 days too late."""
    rules = msgspec.structs.replace(RULES["perpetual"], grace_includes_last_day=False)
    when = datetime(2026, 7, 15, tzinfo=UTC)
    assert cover(renewed("2026-07-30"), rules, when, when.date()).status == "lapsed"
    assert cover(renewed("2026-07-29"), rules, when, when.date()).status == "covered"


@pytest.mark.parametrize("licence", ["subscription", "cloud"])
@pytest.mark.parametrize("ordered", ["2026-06-01", "2026-07-30", "2026-07-31", "2027-03-01"])
def test_other_renewals_always_extend_from_the_old_expiry(licence: str, ordered: str) -> None:
    """Subscription and cloud have no 30-day clause."""
    contract = renewed(ordered)
    assert codes(on(contract, licence, "2026-07-01")) == ["covered", "renewed-from-expiry"]
    assert on(contract, licence, "2027-06-30").status == "covered"
    assert on(contract, licence, "2027-07-01").status == "lapsed"


@pytest.mark.parametrize("licence", ["subscription", "cloud"])
def test_autorenew_continues_by_itself(licence: str) -> None:
    """From the old expiry, for as long as nobody ends it, two years at a time."""
    contract = year(autorenew=True)
    assert codes(on(contract, licence, "2026-06-30")) == ["covered", "starts-at-start"]
    found = on(contract, licence, "2026-07-01")
    assert codes(found) == ["covered", "renewed-automatically"]
    assert found.period is not None
    assert (found.period.first, found.period.last) == (date(2026, 7, 1), date(2028, 6, 30))
    assert on(contract, licence, "2039-02-28").status == "covered"


def test_a_perpetual_licence_never_renews_by_itself() -> None:
    found = on(year(autorenew=True), "perpetual", "2026-09-01")
    assert (found.status, codes(found)) == ("lapsed", ["lapsed", "no-autorenew"])


@pytest.mark.parametrize(
    ("licence", "last"),
    [("perpetual", "2026-06-30"), ("subscription", "2027-06-30"), ("cloud", "2027-06-30")],
)
def test_minimum_lengths(licence: str, last: str) -> None:
    """Perpetual plans: at least 1 year; subscription and cloud: 2. They apply where no end is given."""
    contract = year(end=None)
    assert on(contract, licence, last).status == "covered"
    assert (
        on(contract, licence, (date.fromisoformat(last) + timedelta(days=1)).isoformat()).status == "lapsed"
    )


def test_a_plan_without_a_start_begins_at_registration() -> None:
    """§8.1.3; without a registration the cover has not begun."""
    contract = Contract(plan="gold", registered=date(2025, 3, 5))
    assert on(contract, "perpetual", "2025-03-04").status == "not-started"
    assert codes(on(contract, "perpetual", "2025-03-05")) == ["covered", "starts-at-registration"]
    assert on(contract, "perpetual", "2026-03-05").status == "lapsed"
    assert on(Contract(plan="gold"), "perpetual", "2025-03-05").status == "not-registered"


def test_a_new_perpetual_customer_had_one_year_of_basic() -> None:
    """§8.1.1: nothing was ordered, Basic was included from registration."""
    contract = Contract(registered=date(2023, 1, 10))
    found = on(contract, "perpetual", "2024-01-09")
    assert (found.status, found.plan, codes(found)) == ("covered", "basic", ["covered", "plan-included"])
    assert on(contract, "perpetual", "2024-01-10").status == "lapsed"
    with pytest.raises(ContractError, match="names no plan"):
        on(contract, "cloud", "2023-06-01")


def test_no_contract_at_all() -> None:
    found = on(None, "cloud", "2026-01-01")
    assert (found.status, found.plan, codes(found)) == ("none", None, ["no-contract"])


def test_plans_change_by_renewal_and_in_between() -> None:
    """An upgrade in the middle holds until a renewal names another plan."""
    upgrade = PlanChange(datetime(2026, 1, 15, 9, tzinfo=UTC), "platinum")
    contract = year(plan_changes=(upgrade,), renewals=(Renewal(date(2026, 6, 1), years=1),))
    assert on(contract, "perpetual", "2026-01-14").plan == "gold"
    assert on(contract, "perpetual", "2026-01-15").plan == "platinum"
    assert on(contract, "perpetual", "2026-08-01").plan == "platinum"
    down = year(plan_changes=(upgrade,), renewals=(Renewal(date(2026, 6, 1), years=1, plan="basic"),))
    assert on(down, "perpetual", "2026-08-01").plan == "basic"


@pytest.mark.parametrize(
    "contract",
    [
        Contract(plan="gold", start=date(2026, 1, 1), end=date(2025, 1, 1)),
        year(renewals=(Renewal(date(2026, 6, 1), until=date(2026, 1, 1)),)),
    ],
)
def test_contradictory_documents_are_refused(contract: Contract) -> None:
    with pytest.raises(ContractError, match="before it starts"):
        on(contract, "perpetual", "2026-07-15")


def test_what_a_person_should_look_at() -> None:
    """Doubts name the field; they refuse nothing."""
    found = list(doubts(year(start=date(2026, 1, 1), autorenew=True), RULES["perpetual"]))
    assert [line.split(":")[0] for line in found] == ["autorenew", "start", "end"]
    assert "not sold any more from 2023-06-01" in found[1]
    assert list(doubts(year(end=date(2027, 6, 30)), RULES["cloud"])) == []
    assert "shorter than the minimum of 2 years" in next(doubts(year(), RULES["cloud"]))


def test_the_policy_release_of_the_start_or_the_last_renewal_binds() -> None:
    """Later releases bind from the next renewal on; older contracts take the earliest known release."""
    five = msgspec.structs.replace(RELEASE, release="5", valid_from=date(2024, 10, 1))
    six = msgspec.structs.replace(RELEASE, release="6", valid_from=date(2026, 1, 1))

    def binding(contract: Contract, licence: str, day: str) -> str:
        return release_in_force((five, six), contract, licence, date.fromisoformat(day)).release

    assert binding(year(), "perpetual", "2026-05-01") == "5"
    assert binding(renewed("2026-06-01"), "perpetual", "2026-05-01") == "5"
    assert binding(renewed("2026-06-01"), "perpetual", "2026-08-01") == "6"
    assert binding(year(autorenew=True), "cloud", "2026-06-30") == "5"
    assert binding(year(autorenew=True), "cloud", "2026-07-01") == "6"
    assert binding(year(start=date(2019, 1, 1), end=date(2019, 12, 31)), "perpetual", "2019-06-01") == "5"


def test_unknown_licence_kinds_are_refused() -> None:
    with pytest.raises(ContractError, match="'leased' is no licence kind; known are perpetual"):
        licence_rules(RELEASE, "leased")


@given(st.dates(date(2020, 1, 1), date(2040, 12, 31)), st.integers(1, 10))
def test_periods_of_whole_years_join_without_gap(first: date, years: int) -> None:
    """The day after a period's last day is its anniversary (29 February: 1 March, or 29 February again)."""
    following = end_after(first, years) + timedelta(days=1)
    if (first.month, first.day) == (2, 29):
        assert following.year == first.year + years
        assert (following.month, following.day) in ((3, 1), (2, 29))
    else:
        assert following == first.replace(year=first.year + years)


@given(st.integers(-400, 400))
def test_cover_has_a_gap_only_when_a_perpetual_renewal_was_too_late(days: int) -> None:
    """Renewed N days after the expiry: every day until the new expiry is covered, unless N > 30."""
    ordered = date(2026, 6, 30) + timedelta(days=days)
    contract = year(renewals=(Renewal(ordered, years=2),))
    span = [date(2026, 6, 1) + timedelta(days=n) for n in range(0, 480, 3)]
    covered = [on(contract, "perpetual", day.isoformat()).status == "covered" for day in span]
    expected = [day <= date(2026, 6, 30) or days <= 30 or day >= ordered for day in span]
    assert covered == expected
