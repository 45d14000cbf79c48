"""The support policy as data: what the shipped release says, and how a wrong one is told."""

from __future__ import annotations

from datetime import date
from importlib.resources import files
from pathlib import Path

import pytest

from ticketing.errors import PolicyError
from ticketing.hours import Hours, parse_hours
from ticketing.platform import VersionError, behind, parse_version
from ticketing.policy import PriorityBounds, priority_of
from ticketing.policy_text import document_of, readable
from ticketing.releases import (
    in_order,
    load_directory,
    load_releases,
    read_release,
    release_for,
    release_named,
)

from .facts import RELEASE

SHIPPED = files("ticketing").joinpath("programme/imagiclecare-5.0.yaml").read_text("utf-8")


@pytest.mark.parametrize(
    ("plan", "targets"),
    [
        ("basic", [(None, 1), (None, 2), (None, None), (None, None)]),
        ("gold", [(60, None), (120, None), (240, None), (480, None)]),
        ("platinum", [(60, None), (120, None), (240, None), (480, None)]),
    ],
)
def test_the_shipped_targets_are_those_of_the_guide(
    plan: str, targets: list[tuple[int | None, int | None]]
) -> None:
    found = [RELEASE.target(plan, priority) for priority in (1, 2, 3, 4)]
    assert [(t.minutes, t.working_days) for t in found] == targets


def test_the_shipped_theatres_are_those_of_the_guide() -> None:
    """§5.3 and §6.1: zones, languages and telephone numbers."""
    found = {
        key: (t.zone, t.languages, t.optional_languages, t.phone, t.country)
        for key, t in RELEASE.theatres.items()
    }
    assert found == {
        "americas": ("America/New_York", ("en",), ("es",), "+1 305 5013030", "US"),
        "europe": ("Europe/Rome", ("en", "it"), ("fr", "es", "de", "pt"), "+39 0584943232", "IT"),
        "me-sun-thu": ("Asia/Dubai", ("ar", "en"), (), "+971 43605197", "AE"),
        "me-mon-fri": ("Asia/Dubai", ("ar", "en"), (), "+971 43605197", "AE"),
    }
    assert RELEASE.languages == ("it", "en", "fr", "de", "es", "pt", "ar")


def test_the_shipped_licences_are_those_of_the_guide() -> None:
    found = {
        key: (
            rules.minimum_years,
            rules.renewal_from,
            rules.autorenew,
            rules.end_of_support,
            rules.sold_until,
        )
        for key, rules in RELEASE.licences.items()
    }
    assert found == {
        "perpetual": (1, "grace", False, True, date(2023, 6, 1)),
        "subscription": (2, "expiry", True, True, None),
        "cloud": (2, "expiry", True, False, None),
    }
    assert RELEASE.licences["perpetual"].grace_days == 30
    assert RELEASE.licences["cloud"].uptime_percent == 99.5
    assert RELEASE.licences["subscription"].uptime_percent is None


def test_on_call_as_the_guide_limits_it() -> None:
    """§6.1: Platinum P1, English, not for Asia-Pacific, no R&D, never first level."""
    rules = RELEASE.on_call
    assert (rules.plans, rules.priorities, rules.languages) == (("platinum",), ("P1",), ("en",))
    assert (rules.asia_pacific, rules.rd_escalation, rules.first_level) == (False, False, False)


FAULTS = {
    # name of the fault: (text, replaced by, field, part of the message)
    "unknown key": ("valid_from:", "colour: red\nvalid_from:", "colour", "is not known here"),
    "missing key": ("title: ImagicleCare 5.0\n", "", "title", "is missing"),
    "wrong type": ("rank: 2", "rank: two", "plans.gold.rank", "expected `int`"),
    "wrong date": ("2024-10-01", "soon", "valid_from", "invalid RFC3339"),
    "negative target": ("{minutes: 240}", "{minutes: -1}", "plans.gold.targets.P3.minutes", ">= 1"),
    "two kinds of target": (
        "{working_days: 2}",
        "{working_days: 2, minutes: 5}",
        "plans.basic.targets.P2",
        "both minutes and working_days",
    ),
    "missing priority": (
        "      P4: {minutes: 480}\n  platinum",
        "  platinum",
        "plans.gold.targets",
        "lacks P4",
    ),
    "unknown priority": ("around_the_clock: [P1]", "around_the_clock: [P7]", "plans.platinum", "P7"),
    "unknown hours kind": ("hours: base", "hours: sometimes", "plans.basic.hours", "invalid enum value"),
    "same rank": ("rank: 3", "rank: 2", "plans", "rank of its own"),
    "unknown zone": ("Europe/Rome", "Europe/Roma", "theatres.europe.zone", "not an IANA zone"),
    "unknown country": ("country: AE", "country: XX", "theatres.me-sun-thu.country", "no public holidays"),
    "country read as a truth value": (
        "country: IT",
        "country: no",
        "theatres.europe.country",
        "expected `str`",
    ),
    "hours backwards": ("07:00-17:00", "17:00-07:00", "theatres.americas.hours", "runs backwards"),
    "hours unreadable": ("07:00-17:00", "7-17", "theatres.americas.hours", "write 09:00-18:00"),
    "hours past midnight": ("07:00-17:00", "07:00-24:30", "theatres.americas.hours", "runs backwards"),
    "weekday": ("[sun, mon", "[sunday, mon", "theatres.me-sun-thu.working_days[0]", "invalid enum"),
    "special working day": ("special_days: [sat]", "special_days: [fri]", "theatres.americas", "working day"),
    "unknown language": ("[en, it]", "[en, xx]", "theatres.europe.languages[1]", "is not defined"),
    "no language": ("languages: [ar, en]", "languages: []", "theatres.me-sun-thu.languages", "not be empty"),
    "unknown role": (
        "role: support-team",
        "role: janitor",
        "escalation.steps.P2[0].role",
        "escalation.roles",
    ),
    "steps out of order": (
        "after_h: 16, role: co-ceo",
        "after_h: 1, role: co-ceo",
        "escalation.steps.P1",
        "asc",
    ),
    "marks out of order": ("[50, 75, 90]", "[75, 50]", "clock.at_risk_percent", "ascend"),
    "unknown plan": ("cloud: [basic,", "cloud: [bronze,", "proactive.plans.cloud[0]", "is not defined"),
    "missing licence": ("    cloud: [basic, gold, platinum]\n", "", "proactive.plans", "lacks cloud"),
    "included plan": (
        "{plan: basic, years: 1}",
        "{plan: tin, years: 1}",
        "licences.perpetual.included",
        "'tin'",
    ),
    "minimum version": ("2020.Winter.0", "2020.Autumn.0", "proactive.version.minimum", "no version"),
    "on-call zone": ("- Japan", "- Nippon", "on_call.asia_pacific_zones", "not an IANA zone"),
    "on-call channel": ("phone, chat]", "phone, fax]", "on_call.channels[3]", "'fax'"),
    "rest of world": ("languages_of: europe", "languages_of: mars", "rest_of_world.languages_of", "theatre"),
    "repeated key": ("  gold:\n", "  basic:\n    name: x\n  gold:\n", "plans.basic", "is given twice"),
    "syntax": ("plans:\n", "plans: [\n", "document", "is not YAML"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_with_line_and_field(name: str) -> None:
    """One fault in the shipped file: it is found, at the line where it stands."""
    text, replacement, field, message = FAULTS[name]
    assert text in SHIPPED
    wrong = SHIPPED.replace(text, replacement, 1)
    release, found = read_release(wrong)
    assert release is None
    first = found[0]
    assert first.field.startswith(field), found
    assert message in first.message, found
    if name not in ("missing key", "syntax", "same rank", "missing priority", "missing licence"):
        changed = [
            n
            for n, (a, b) in enumerate(zip(SHIPPED.split("\n"), wrong.split("\n"), strict=False), 1)
            if a != b
        ]
        assert abs(first.line - changed[0]) <= 3, (first, changed[0])


def test_all_faults_are_told_at_once() -> None:
    """Two wrong types on different lines are both named, in the order of lines."""
    wrong = SHIPPED.replace("rank: 2", "rank: two").replace("minimum_years: 1", "minimum_years: none")
    _, found = read_release(wrong)
    assert [fault.field for fault in found] == ["plans.gold.rank", "licences.perpetual.minimum_years"]
    wrong = SHIPPED.replace("Europe/Rome", "Rome").replace("role: support-manager", "role: boss")
    _, found = read_release(wrong)
    assert len(found) == 4
    assert [fault.line for fault in found] == sorted(fault.line for fault in found)
    assert str(found[0]).startswith(f"line {found[0].line}: {found[0].field}: ")


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "[1, 2]", "just words", "a: &a [*a]", "\x00", "x: " + "[" * 500]
)
def test_what_is_no_release_at_all(text: str) -> None:
    """Empty, of another shape, recursive, binary, endlessly nested: a fault, never a crash."""
    release, found = read_release(text)
    assert release is None
    assert found


def test_several_releases_live_side_by_side(tmp_path: Path) -> None:
    """The one in force on a day applies; before the earliest, the earliest."""
    six = SHIPPED.replace("imagiclecare-5.0", "imagiclecare-6.0").replace("2024-10-01", "2026-10-01")
    (tmp_path / "5.yaml").write_text(SHIPPED, encoding="utf-8")
    (tmp_path / "6.yaml").write_text(six.replace("{minutes: 240}", "{minutes: 180}"), encoding="utf-8")
    releases = load_directory(tmp_path)
    assert [r.release for r in releases] == ["imagiclecare-5.0", "imagiclecare-6.0"]
    assert release_for(releases, date(2026, 9, 30)).release == "imagiclecare-5.0"
    assert release_for(releases, date(2026, 10, 1)).target("gold", 3).minutes == 180
    assert release_for(releases, date(2010, 1, 1)).release == "imagiclecare-5.0"
    assert release_named(releases, "imagiclecare-6.0") is releases[1]
    with pytest.raises(PolicyError, match=r"known are imagiclecare-5\.0, imagiclecare-6\.0"):
        release_named(releases, "imagiclecare-7.0")


def test_releases_that_clash_are_refused(tmp_path: Path) -> None:
    """The same name or the same first day; and a directory without any release."""
    with pytest.raises(PolicyError, match="two files call themselves") as caught:
        in_order({"a.yaml": SHIPPED, "b.yaml": SHIPPED})
    assert "both valid from 2024-10-01" in str(caught.value)
    with pytest.raises(PolicyError, match="no release"):
        load_directory(tmp_path)
    with pytest.raises(PolicyError, match=r"a\.yaml: line \d+: plans.gold.rank"):
        in_order({"a.yaml": SHIPPED.replace("rank: 2", "rank: x"), "b.yaml": SHIPPED})


def test_the_shipped_releases_load_and_read_well() -> None:
    assert load_releases()[0].release == "imagiclecare-5.0"
    text = readable(RELEASE)
    for part in (
        "< 60 min",
        "2 working days",
        "Co-CEO and CTO",
        "sat, holidays 08:00-12:00",
        "within 30 days",
    ):
        assert part in text
    assert document_of(RELEASE)["holidays"]["from"] == "customer"


@pytest.mark.parametrize(
    ("text", "windows"),
    [
        ("09:00-18:00", (Hours(540, 1080),)),
        ("00:00-24:00", (Hours(0, 1440),)),
        ("09:00-13:00, 14:00-18:00", (Hours(540, 780), Hours(840, 1080))),
    ],
)
def test_hours(text: str, windows: tuple[Hours, ...]) -> None:
    assert parse_hours(text) == windows


def test_priorities_and_versions_are_read_strictly() -> None:
    assert priority_of("p2") == 2
    with pytest.raises(ValueError, match="write P1, P2, P3 or P4"):
        priority_of("P5")
    seasons = ("Winter", "Spring", "Summer")
    order = [
        "2019.Summer.9",
        "2020.Winter.0",
        "2020.Winter.2",
        "2020.Spring.1",
        "2020.Summer.1",
        "2021.Winter.1",
    ]
    parsed = [parse_version(text, seasons) for text in order]
    assert parsed == sorted(parsed)
    assert behind("2020.Winter.9", "2020.Spring.1", seasons)
    with pytest.raises(VersionError, match=r"write YYYY\.Season\.N with Winter, Spring, Summer"):
        parse_version("2020", seasons)


@pytest.mark.parametrize(
    ("wanted", "expected"), [(1, 3), (2, 3), (3, 3), (4, 3)], ids=["capped", "capped-2", "kept", "raised"]
)
def test_an_alerts_priority_is_brought_within_the_policy(wanted: int, expected: int) -> None:
    """A release may cap or raise, per plan, what monitoring opens."""
    assert PriorityBounds(most="P3", least="P3").bring(wanted) == expected
    assert PriorityBounds().bring(wanted) == wanted
