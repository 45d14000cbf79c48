"""The registry's document: customers, what they run, what they bought, and the vendor's own people.

One shape, three uses: the YAML file that an administrator applies, the JSON of the API, and what is stored.

    platform products   products.<key>
    people of ours      people.<key>           roles per theatre
    customers           tenants.<key>
                          contacts.<key>       the customer's people
                          deployments.<key>    one platform installation
                            contract           superseded by a new one, never overwritten

What a document does not mention stays as it is, with one exception: ``contacts`` of a tenant, where given,
is the whole list. Nothing else is ever removed; a person who left is ``active: false``.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from functools import cache
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

import msgspec
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from ticketing.contract import Contract as CoveringContract
from ticketing.contract import cover, licence_rules
from ticketing.errors import ContractError
from ticketing.releases import load_releases

LANGUAGES = ("it", "en", "fr", "de", "es", "pt", "ar")
"""The languages that the programme is given in."""


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def storable(text: str) -> str:
    """Refuse what PostgreSQL cannot store as text: NUL and lone surrogates."""
    if "\x00" in text:
        raise ValueError("must not contain the character U+0000")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode (it contains half of a surrogate pair)") from None
    return text


def _zone(name: str) -> str:
    if name not in _zones():
        raise ValueError("is not an IANA time zone, such as Europe/Rome")
    return name


def _language(code: str) -> str:
    if code not in LANGUAGES:
        raise ValueError(f"must be one of {', '.join(LANGUAGES)}")
    return code


Text = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(storable)]
Key = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Zone = Annotated[str, AfterValidator(_zone)]
Language = Annotated[str, AfterValidator(_language)]
Phone = Annotated[str, StringConstraints(pattern=r"^\+[1-9][0-9]{6,14}$")]
Email = Annotated[
    str, StringConstraints(pattern=r"^[^@\s\x00-\x1f<>,;:\"]{1,64}@[A-Za-z0-9.-]{1,190}$", max_length=254)
]
Country = Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]
Version = Annotated[str, StringConstraints(max_length=60), AfterValidator(storable)]
HostName = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(storable)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[^\s\x00-\x1f]+$", max_length=2000)]
LicenceKind = Literal["perpetual", "subscription", "cloud"]
PlanName = Literal["basic", "gold", "platinum"]
TheatreName = Literal["americas", "europe", "me-sun-thu", "me-mon-fri", "rest-of-world"]
Years = Annotated[int, Field(ge=1, le=100)]
Day = Annotated[date, Field(ge=date(1990, 1, 1), le=date(2200, 1, 1))]


class Strict(BaseModel):
    """No unknown keys, no silent conversions, immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True)


class Product(Strict):
    """Something that is sold and, later, no longer supported."""

    name: Text
    end_of_life: Day | None = None
    """First day on which it is no longer sold (still supported)."""
    end_of_support: Day | None = None
    """First day without support; matters on premise only."""
    newest_version: Version | None = None
    """``YYYY.Season.N``; deployments that are behind are flagged."""


class PersonRole(Strict):
    """A part that one of our people plays, in one theatre or everywhere."""

    role: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    """``on-call``, or a role of the escalation matrix: ``support-team``, ``support-regional-manager`` ..."""
    theatre: TheatreName | None = None
    """None: in every theatre."""


class StaffMember(Strict):
    """One of the vendor's people."""

    name: Text
    email: Email | None = None
    phone: Phone | None = None
    zone: Zone = "UTC"
    languages: tuple[Language, ...] = ("en",)
    roles: tuple[PersonRole, ...] = ()
    active: bool = True


class Contact(Strict):
    """One of the customer's people."""

    name: Text
    email: Email | None = None
    phone: Phone | None = None
    languages: tuple[Language, ...] = ()
    """In order of preference."""
    reachable_24h: bool = False
    """May be called at any hour (needed for the Platinum phone notice to the customer)."""
    deployments: tuple[Key, ...] = ()
    """Keys of the deployments it answers for; empty: all."""

    @model_validator(mode="after")
    def _reachable_by_phone(self) -> Contact:
        if self.reachable_24h and self.phone is None:
            raise ValueError("reachable_24h needs a phone number")
        return self


class Renewal(Strict):
    """A recorded renewal of a contract."""

    ordered: Day
    """Date of the renewal order."""
    until: Day | None = None
    """Last day covered after it; None: ``years`` from where it starts."""
    years: Years | None = None
    """Length where ``until`` is not given; None: the licence's minimum."""
    plan: PlanName | None = None
    """The plan from then on; None: as before."""


class PlanChange(Strict):
    """An upgrade or downgrade during the contract."""

    at: AwareDatetime
    plan: PlanName


class Contract(Strict):
    """A support contract (read by ticketing/contract.py).

    A changed one supersedes what is stored: the old document stays in the history."""

    plan: PlanName | None = None
    """None: nothing was ordered; the plan included with the licence kind, if any."""
    start: Day | None = None
    """First day covered; None: not specified by the order, it starts at ``registered``."""
    end: Day | None = None
    """Last day covered by the first period; None: ``years`` from its start."""
    registered: Day | None = None
    """Day of the product's registration."""
    years: Years | None = None
    """Length of the first and of every automatic period; None: the licence's minimum."""
    autorenew: bool = False
    """Cover continues by itself from the old expiry (licence kinds that the policy names)."""
    renewals: tuple[Renewal, ...] = ()
    plan_changes: tuple[PlanChange, ...] = ()
    unpaid: bool = False
    """Tickets are held until a person releases them."""
    excluded: Text | None = None
    """Why the customer is excluded by conduct; tickets are held. None: it is not."""


class Proactive(Strict):
    """What the customer switched on for proactive monitoring."""

    opt_in: bool = False
    data_sending: bool = False
    connected: bool = False
    """Connected to the vendor's cloud by other means than an agent's enrolment (which is known anyway)."""
    customer_call: bool = False
    """Platinum: the separate activation of the 24x7 phone notice to the customer."""


class Deployment(Strict):
    """One platform installation."""

    name: Text
    licence: LicenceKind
    theatre: TheatreName
    zone: Zone
    country: Country
    region: Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{1,3}$")] | None = None
    """ISO 3166-2 subdivision (without the country), for regional holidays."""
    holiday_country: Country | None = None
    """Whose public holidays count instead of the country's."""
    languages: tuple[Language, ...] = ()
    """Languages that the site speaks, where its contacts do not say."""
    products: tuple[Key, ...] = ()
    """The base product first, then modules."""
    version: Version | None = None
    """Platform version as known to us; a fresh report of an agent wins over it."""
    asia_pacific: bool | None = None
    """None: told from the zone."""
    closing_days: tuple[Day, ...] = ()
    """Extra days on which the team that serves this customer is closed."""
    proactive: Proactive = Proactive()
    clusters: dict[Key, tuple[HostName, ...]] = {}
    """Names of hosts that stand for one another."""
    core_services: tuple[HostName, ...] = ()
    """Services without which nothing works (their failure is P1); names are the customer's."""
    uptime_target: Annotated[float, Field(gt=0, le=100)] | None = None
    """Per cent; None: the programme's own."""
    contract: Contract | None = None
    """None: not mentioned (stays as it is); a deployment without any has no support."""

    @model_validator(mode="after")
    def _contract_makes_sense(self) -> Deployment:
        """Walk the contract's periods as the desk will: what contradicts itself is refused here."""
        if self.contract is not None:
            rules = licence_rules(load_releases()[-1], self.licence)
            today = self.contract.end or self.contract.start or self.contract.registered or date(2020, 1, 1)
            try:
                bought = msgspec.convert(self.contract.model_dump(), CoveringContract)
                cover(bought, rules, datetime(today.year, today.month, today.day, tzinfo=UTC), today)
            except ContractError as error:
                raise ValueError(f"contract: {error}") from None
        return self

    @model_validator(mode="after")
    def _one_cluster_per_host(self) -> Deployment:
        seen: set[str] = set()
        for hosts in self.clusters.values():
            for host in hosts:
                if host in seen:
                    raise ValueError(f"a host may stand in one cluster only, once: {host}")
                seen.add(host)
        return self


class Webhook(Strict):
    """Where a customer wants to be told of its tickets (Standard Webhooks)."""

    url: Url
    secret: Annotated[str, StringConstraints(pattern=r"^whsec_[A-Za-z0-9+/]{32,88}={0,2}$")]


class Tenant(Strict):
    """A customer."""

    name: Text
    webhooks: tuple[Webhook, ...] = ()
    contacts: dict[Key, Contact] | None = None
    """None: not mentioned, stays as it is."""
    deployments: dict[Key, Deployment] = {}


class Registry(Strict):
    """The whole document."""

    products: dict[Key, Product] = {}
    people: dict[Key, StaffMember] = {}
    tenants: dict[Key, Tenant] = {}


class Fault(Strict):
    """One thing that is wrong with a document."""

    field: str
    """Path, as in ``tenants.acme.deployments.main.licence``."""
    message: str
    line: int | None = None
    """Line in the file, from 1; None where there is no file."""


class RegistryError(Exception):
    """The document cannot be applied; nothing was changed. ``faults`` lists everything that is wrong."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(_line(f) for f in faults))
        self.faults = faults


def _line(fault: Fault) -> str:
    where = f"line {fault.line}: " if fault.line else ""
    return f"{where}{fault.field}: {fault.message}"


def field_path(location: tuple[int | str, ...]) -> str:
    """``('tenants', 'acme', 'contacts', 0)`` -> ``tenants.acme.contacts[0]``."""
    path = ""
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part != "[key]":
            path += f".{part}" if path else part
    return path or "document"


def plain(text: str) -> str:
    """Pydantic's message in our words."""
    return re.sub(r"^Value error, ", "", text)


def document_of(model: Strict) -> dict[str, Any]:
    """What is stored and compared: JSON types, defaults left out."""
    return model.model_dump(mode="json", exclude_defaults=True)
