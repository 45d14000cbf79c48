"""Who is entitled to what: every case of the fact sheet, with its reasons."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec
import pytest

from ticketing.contract import Contract, PlanChange, Renewal
from ticketing.entitlement import DeploymentFacts, Entitlement, Product, decide
from ticketing.errors import ContractError
from ticketing.reason import from_documents, to_documents

from .facts import RELEASE, texts

NOON = datetime(2026, 9, 14, 12, tzinfo=UTC)
BASE = Product("ucx", "UCX Suite")


def site(**kwargs: Any) -> DeploymentFacts:
    """A European deployment that has everything switched on."""
    given: dict[str, Any] = {
        "licence": "subscription",
        "theatre": "europe",
        "zone": "Europe/Rome",
        "country": "IT",
        "version": "2026.Winter.1",
        "opt_in": True,
        "data_sending": True,
        "connected": True,
        "customer_call": True,
        "contacts_24h": 1,
        "products": (BASE,),
    }
    return DeploymentFacts(**given | kwargs)


def contract(plan: str | None = "platinum", **kwargs: Any) -> Contract:
    given: dict[str, Any] = {"start": date(2025, 1, 1), "end": date(2026, 12, 31)}
    return Contract(plan=plan, **given | kwargs)


def ask(facts: DeploymentFacts, bought: Contract | None, **kwargs: Any) -> Entitlement:
    return decide(facts, bought, kwargs.pop("at", NOON), RELEASE, **kwargs)


def answers(found: Entitlement) -> tuple[str, str, str, str, str]:
    """monitored, ticket, SLA, technician, customer."""
    return (
        found.monitored.value,
        found.ticket.value,
        found.sla.value,
        found.page_technician.value,
        found.phone_customer.value,
    )


def codes(found: Entitlement, name: str) -> set[str]:
    return {reason.code for reason in getattr(found, name).reasons}


PLANS = [
    # licence, plan -> monitored, ticket, SLA, technician, customer (all at P1)
    ("perpetual", "basic", ("no", "no", "none", "no", "no")),
    ("perpetual", "gold", ("yes", "yes", "guaranteed", "no", "no")),
    ("perpetual", "platinum", ("yes", "yes", "guaranteed", "yes", "yes")),
    ("subscription", "basic", ("no", "no", "none", "no", "no")),
    ("subscription", "gold", ("yes", "yes", "guaranteed", "no", "no")),
    ("subscription", "platinum", ("yes", "yes", "guaranteed", "yes", "yes")),
    ("cloud", "basic", ("yes", "yes", "best-effort", "no", "no")),
    ("cloud", "gold", ("yes", "yes", "guaranteed", "no", "no")),
    ("cloud", "platinum", ("yes", "yes", "guaranteed", "yes", "yes")),
]


@pytest.mark.parametrize(("licence", "plan", "expected"), PLANS)
def test_every_plan_on_every_licence(licence: str, plan: str, expected: tuple[str, ...]) -> None:
    """§10: on-prem Gold and Platinum and every cloud licence are eligible, on-prem Basic is not; cloud Basic
    is best effort and never paged; Platinum P1 rings the technician and, activated, the customer."""
    assert answers(ask(site(licence=licence), contract(plan))) == expected


@pytest.mark.parametrize(("licence", "plan", "expected"), PLANS)
@pytest.mark.parametrize("priority", [2, 3, 4])
def test_nobody_is_called_below_p1(licence: str, plan: str, expected: tuple[str, ...], priority: int) -> None:
    found = ask(site(licence=licence), contract(plan), priority=priority)
    assert answers(found) == (*expected[:3], "no", "no")
    if expected[3] == "yes":
        assert codes(found, "page_technician") == {"not-on-call-priority"}


def test_on_premise_basic_shows_its_alerts_all_the_same() -> None:
    """Data and alert shown, no ticket; but a person of the customer may open one: it is a support plan."""
    found = ask(site(), contract("basic"))
    assert "plan-not-eligible" in codes(found, "ticket")
    assert "shown-anyway" in codes(found, "ticket")
    assert found.terms is None
    assert found.ticket.reasons[0].section == "§10"
    person = ask(site(), contract("basic"), channel="phone")
    assert (person.ticket.value, person.sla.value) == ("yes", "best-effort")


@pytest.mark.parametrize(
    ("missing", "code"),
    [
        ({"opt_in": False}, "not-opted-in"),
        ({"connected": False}, "not-connected"),
        ({"data_sending": False}, "does-not-send-data"),
        ({"version": None}, "version-unknown"),
        ({"version": "14.2"}, "version-unreadable"),
        ({"version": "2019.Winter.1"}, "version-too-old"),
    ],
)
def test_each_condition_of_proactive_support(missing: dict[str, Any], code: str) -> None:
    """§10: without it no ticket and no call, and the reason is named; people may still report."""
    found = ask(site(**missing), contract())
    assert answers(found) == ("no", "no", "none", "no", "no")
    assert codes(found, "ticket") == {code, "shown-anyway"}
    assert ask(site(**missing), contract(), channel="portal").ticket.value == "yes"
    assert ("version-unknown" in found.flags) is (code in ("version-unknown", "version-unreadable"))


def test_everything_that_stands_against_it_is_named() -> None:
    found = ask(site(opt_in=False, connected=False, version=None), contract("basic"))
    assert codes(found, "monitored") == {
        "plan-not-eligible",
        "not-opted-in",
        "version-unknown",
        "not-connected",
    }


@pytest.mark.parametrize(
    ("version", "eligible"),
    [
        ("2018.Summer.9", False),
        ("2019.Winter.1", False),
        ("2019.Spring.1", False),
        ("2019.Summer.12", False),
        ("2020.Winter.0", True),
        ("2020.Winter.1", True),
        ("2020.winter.1", True),
        ("2020.Spring.1", True),
        ("2020.Summer.1", True),
        ("2026.Summer.3", True),
        ("", False),
        ("2020.Autumn.1", False),
        ("2020.Winter", False),
        ("Winter '20", False),
        ("2021.Winter.1.2", False),
    ],
)
def test_versions_against_winter_2020(version: str, eligible: bool) -> None:
    """``YYYY.Season.N``, Winter < Spring < Summer within a year; Winter '20 or later is eligible."""
    assert ask(site(version=version), contract()).monitored.yes is eligible


@pytest.mark.parametrize(
    ("registered", "reported", "age_h", "eligible"),
    [
        ("2019.Winter.1", "2020.Spring.1", 1, True),
        ("2020.Spring.1", "2019.Winter.1", 1, False),
        ("2020.Spring.1", "2019.Winter.1", 24, False),
        ("2020.Spring.1", "2019.Winter.1", 25, True),
        ("2019.Winter.1", "2020.Spring.1", 25, False),
        (None, "2020.Spring.1", 1, True),
        (None, "2020.Spring.1", 100, False),
    ],
)
def test_the_agents_fresh_report_of_the_version_wins(
    registered: str | None, reported: str, age_h: int, eligible: bool
) -> None:
    """While it is fresh (24 h); afterwards the registry's counts again, and none is unknown."""
    seen = NOON - timedelta(hours=age_h)
    facts = site(version=registered, version_reported=reported, version_reported_at=seen)
    assert ask(facts, contract()).monitored.yes is eligible


@pytest.mark.parametrize(
    ("lapsed", "kwargs"),
    [
        ("expired", {"end": date(2026, 9, 13)}),
        ("not started", {"start": date(2026, 9, 15)}),
        ("not registered", {"start": None, "end": None}),
    ],
)
def test_without_cover_no_ticket_sla_or_page(lapsed: str, kwargs: dict[str, Any]) -> None:
    """Alerts are shown; expired ones are flagged; people get no ticket either."""
    found = ask(site(), contract(**kwargs))
    assert answers(found) == ("no", "no", "none", "no", "no")
    assert "shown-anyway" in codes(found, "ticket")
    assert ("entitlement-expired" in found.flags) is (lapsed == "expired")
    assert ask(site(), contract(**kwargs), channel="portal").ticket.value == "no"


def test_cover_ends_and_begins_at_the_sites_midnight() -> None:
    """The last day is covered until midnight in Rome: 22:00 UTC in summer."""
    bought = contract(end=date(2026, 9, 14))
    last = datetime(2026, 9, 14, 21, 59, 59, tzinfo=UTC)
    assert ask(site(), bought, at=last).ticket.yes
    assert not ask(site(), bought, at=last + timedelta(seconds=1)).ticket.yes


def test_no_contract_is_no_support() -> None:
    found = ask(site(), None)
    assert answers(found) == ("no", "no", "none", "no", "no")
    assert codes(found, "ticket") >= {"no-contract", "shown-anyway"}


def test_a_recorded_renewal_restores_cover_backwards() -> None:
    """Perpetual, lapsed for 20 days: not entitled; with the renewal recorded, since the expiry."""
    bought = contract("gold", end=date(2026, 8, 31))
    facts = site(licence="perpetual")
    assert not ask(facts, bought).ticket.yes
    recorded = msgspec.structs.replace(bought, renewals=(Renewal(date(2026, 9, 20), years=1),))
    found = ask(facts, recorded)
    assert found.ticket.yes
    assert "renewed-in-grace" in codes(found, "ticket")
    late = msgspec.structs.replace(bought, renewals=(Renewal(date(2026, 10, 1), years=1),))
    assert not ask(facts, late).ticket.yes, "31 days: cover starts at the order"


@pytest.mark.parametrize(
    ("licence", "ends", "entitled"),
    [
        ("subscription", date(2026, 9, 14), False),
        ("perpetual", date(2026, 9, 14), False),
        ("subscription", date(2026, 9, 15), True),
        ("cloud", date(2020, 1, 1), True),
    ],
)
def test_end_of_support_is_per_product_and_on_premise_only(licence: str, ends: date, entitled: bool) -> None:
    """It ends support though the contract goes on; the cloud has none."""
    facts = site(licence=licence, products=(msgspec.structs.replace(BASE, end_of_support=ends),))
    found = ask(facts, contract())
    assert found.ticket.yes is entitled
    assert ("end-of-support" in found.flags) is not entitled
    assert ("end-of-support" in codes(found, "ticket")) is not entitled


def test_end_of_life_is_still_supported() -> None:
    """No longer sold, still supported: a ticket, a flag, and the reason."""
    facts = site(products=(msgspec.structs.replace(BASE, end_of_life=date(2026, 1, 1)),))
    found = ask(facts, contract())
    assert found.ticket.yes
    assert found.flags == ("end-of-life",)
    assert "end-of-life" in codes(found, "ticket")


def test_a_module_without_support_does_not_take_the_rest_with_it() -> None:
    """End of Support per product: only what concerns it is refused; it co-terminates with the base."""
    old = Product("recorder", "Call Recorder", end_of_support=date(2026, 1, 1))
    facts = site(products=(BASE, old, Product("fax", "Fax Server")))
    assert ask(facts, contract()).ticket.yes
    assert not ask(facts, contract(), product="recorder").ticket.yes
    fax = ask(facts, contract(), product="fax")
    assert fax.ticket.yes
    assert "Fax Server is covered as long as UCX Suite" in texts(fax.ticket.reasons)


@pytest.mark.parametrize(
    ("kwargs", "code", "section"),
    [({"unpaid": True}, "unpaid", "§14"), ({"excluded": "misuse of the service"}, "excluded", "§15")],
)
@pytest.mark.parametrize("channel", ["proactive", "phone"])
def test_unpaid_or_excluded_holds_the_ticket(
    kwargs: dict[str, Any], code: str, section: str, channel: str
) -> None:
    """Shown; the ticket waits for a person; nobody is called; its clock starts at release."""
    found = ask(site(), contract(**kwargs), channel=channel)
    assert (found.ticket.value, found.page_technician.value, found.phone_customer.value) == (
        "held",
        "no",
        "no",
    )
    assert found.monitored.yes
    assert (found.ticket.reasons[0].code, found.ticket.reasons[0].section) == (code, section)
    assert code in found.flags
    assert "clock-starts-at-release" in codes(found, "sla")
    assert found.terms is not None


def test_what_is_refused_anyway_is_not_held() -> None:
    """Lapsed and unpaid: no ticket. On-prem Basic and unpaid: no ticket."""
    assert ask(site(), contract(unpaid=True, end=date(2026, 1, 1))).ticket.value == "no"
    assert ask(site(), contract("basic", unpaid=True)).ticket.value == "no"


@pytest.mark.parametrize(
    ("zone", "flag", "pacific"),
    [
        ("Asia/Tokyo", None, True),
        ("Australia/Sydney", None, True),
        ("Pacific/Auckland", None, True),
        ("Asia/Kolkata", None, True),
        ("Asia/Dubai", None, False),
        ("Europe/Rome", None, False),
        ("America/Lima", None, False),
        ("Pacific/Honolulu", None, False),
        ("Asia/Tokyo", False, False),
        ("Europe/Rome", True, True),
    ],
)
def test_asia_pacific_platinum(zone: str, flag: bool | None, pacific: bool) -> None:
    """On-call is not available there: an explicit flag, else told from the zone; flagged, Gold's calendar."""
    found = ask(site(zone=zone, theatre="rest-of-world", asia_pacific=flag), contract())
    assert found.page_technician.yes is not pacific
    assert found.phone_customer.yes is not pacific
    assert ("asia-pacific" in found.flags) is pacific
    assert ("asia-pacific" in codes(found, "page_technician")) is pacific
    assert found.terms is not None
    assert found.terms.asia_pacific is pacific
    assert found.sla.value == "guaranteed"


def test_asia_pacific_gold_has_nothing_to_flag() -> None:
    assert ask(site(zone="Asia/Tokyo", theatre="rest-of-world"), contract("gold")).flags == ()


@pytest.mark.parametrize(
    ("kwargs", "code"),
    [
        ({"contacts_24h": 0}, "no-contact-24h"),
        ({"customer_call": False}, "call-not-activated"),
    ],
)
def test_the_customers_contact_gates_only_the_call_to_the_customer(kwargs: dict[str, Any], code: str) -> None:
    """Without a 24 h contact, or without the activation, the technician is paged all the same."""
    found = ask(site(**kwargs), contract())
    assert (found.page_technician.value, found.phone_customer.value) == ("yes", "no")
    assert codes(found, "phone_customer") == {code}


@pytest.mark.parametrize(
    ("channel", "technician", "worth"),
    [
        ("proactive", "yes", "guaranteed"),
        ("portal", "yes", "guaranteed"),
        ("phone", "yes", "guaranteed"),
        ("chat", "yes", "guaranteed"),
        ("email", "no", "none"),
    ],
)
def test_channels(channel: str, technician: str, worth: str) -> None:
    """No SLA by email, and no call for it; the customer is called for proactive tickets only."""
    found = ask(site(), contract(), channel=channel)
    assert (found.page_technician.value, found.sla.value) == (technician, worth)
    assert found.phone_customer.yes is (channel == "proactive")


@pytest.mark.parametrize(
    ("theatre", "language", "handled", "worth"),
    [
        ("americas", "en", "en", "guaranteed"),
        ("americas", "es", "es", "best-effort"),
        ("americas", "it", "en", "guaranteed"),
        ("europe", "en", "en", "guaranteed"),
        ("europe", "it", "it", "guaranteed"),
        ("europe", "fr", "fr", "best-effort"),
        ("europe", "es", "es", "best-effort"),
        ("europe", "de", "de", "best-effort"),
        ("europe", "pt", "pt", "best-effort"),
        ("europe", "ar", "en", "guaranteed"),
        ("me-sun-thu", "ar", "ar", "guaranteed"),
        ("me-sun-thu", "en", "en", "guaranteed"),
        ("me-mon-fri", "ar", "ar", "guaranteed"),
        ("me-mon-fri", "en", "en", "guaranteed"),
        ("me-mon-fri", "fr", "en", "guaranteed"),
        ("rest-of-world", "it", "it", "guaranteed"),
        ("rest-of-world", "pt", "pt", "best-effort"),
    ],
)
def test_every_language_of_every_theatre(theatre: str, language: str, handled: str, worth: str) -> None:
    """§5.3: main languages with SLA; optional ones without guarantee, shown; others in English."""
    found = ask(site(theatre=theatre), contract("gold"), languages=[language])
    assert found.terms is not None
    assert (found.terms.language, found.sla.value) == (handled, worth)
    assert ("language-not-guaranteed" in found.flags) is (worth == "best-effort")
    if worth == "best-effort":
        assert "the SLA is not guaranteed" in " ".join(texts(found.sla.reasons))


def test_the_first_language_that_the_theatre_speaks_is_taken() -> None:
    found = ask(site(languages=("ar", "de", "it")), contract("gold"))
    assert found.terms is not None
    assert found.terms.language == "de"


@pytest.mark.parametrize(
    ("zone", "theatre"),
    [
        ("Africa/Johannesburg", "europe"),
        ("Asia/Tokyo", "me-mon-fri"),
        ("Africa/Lagos", "europe"),
        ("America/Sao_Paulo", "americas"),
        ("Pacific/Honolulu", "americas"),
        ("Asia/Karachi", "me-mon-fri"),
        ("Atlantic/South_Georgia", "europe"),  # -2: three from New York's -5 and from Rome's +1 in winter
    ],
)
def test_the_rest_of_the_world_has_the_nearest_theatres_hours(zone: str, theatre: str) -> None:
    """The smallest difference of UTC offsets; the first listed theatre wins a tie."""
    winter = datetime(2026, 1, 14, 12, tzinfo=UTC)
    found = ask(site(theatre="rest-of-world", zone=zone, country="ZA"), contract(), at=winter)
    assert found.terms is not None
    assert (found.terms.theatre, found.terms.rest_of_world, found.terms.country) == (theatre, True, "ZA")


@pytest.mark.parametrize(
    ("kwargs", "country", "region"),
    [
        ({"country": "DE"}, "DE", None),
        ({"country": None}, "IT", None),
        ({"country": "IT", "region": "MI"}, "IT", "MI"),
        ({"country": "IT", "region": "XX"}, "IT", None),
        ({"country": "DE", "holiday_country": "IT", "region": "BY"}, "IT", None),
        ({"country": "XX"}, "IT", None),
    ],
)
def test_whose_holidays_count(kwargs: dict[str, Any], country: str, region: str | None) -> None:
    """The deployment's own setting, else the customer's country, else the theatre's; regions with their own
    country only."""
    found = ask(site(**kwargs), contract())
    assert found.terms is not None
    assert (found.terms.country, found.terms.region) == (country, region)


def test_a_mid_incident_upgrade_rings_from_then_on() -> None:
    """Gold until 15:00, Platinum afterwards: the same P1 decided again calls the technician."""
    upgrade = PlanChange(datetime(2026, 9, 14, 15, tzinfo=UTC), "platinum")
    bought = contract("gold", plan_changes=(upgrade,))
    assert not ask(site(), bought).page_technician.yes
    assert ask(site(), bought, at=upgrade.at).page_technician.yes


@pytest.mark.parametrize(
    ("version", "newest", "is_behind"),
    [
        ("2026.Winter.1", "2026.Winter.1", False),
        ("2026.Winter.1", "2026.Spring.1", True),
        ("2025.Summer.3", "2026.Winter.1", True),
        ("2026.Winter.1", "2026.Winter.4", False),
        ("2026.Spring.1", "2026.Winter.4", False),
        ("nonsense", "2026.Winter.4", False),
    ],
)
def test_a_deployment_behind_the_newest_release_is_flagged(
    version: str, newest: str, is_behind: bool
) -> None:
    """Fixes go to the latest version only; the number within a season does not count."""
    facts = site(version=version, products=(msgspec.structs.replace(BASE, newest_version=newest),))
    assert ("behind-newest" in ask(facts, contract()).flags) is is_behind


def test_every_decision_has_reasons_that_survive_storage() -> None:
    """Reasons are data: stored as JSON and read back they say the same."""
    for _, plan, _ in PLANS:
        for bought in (
            contract(plan),
            contract(plan, unpaid=True),
            contract(plan, end=date(2026, 1, 1)),
            None,
        ):
            found = ask(site(), bought)
            for name in ("monitored", "ticket", "sla", "page_technician", "phone_customer"):
                reasons = getattr(found, name).reasons
                assert reasons, name
                stored = msgspec.json.decode(msgspec.json.encode(to_documents(reasons)))
                assert texts(from_documents(stored)) == texts(reasons)


@pytest.mark.parametrize(
    ("facts", "bought", "message"),
    [
        ({"licence": "leased"}, {}, "no licence kind"),
        ({"zone": "Mars/Olympus"}, {}, "not an IANA time zone"),
        ({"theatre": "antarctica"}, {}, "no theatre"),
        ({}, {"plan": "diamond"}, "no plan"),
    ],
)
def test_unknown_names_are_refused(facts: dict[str, Any], bought: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        ask(site(**facts), contract(**bought))
