"""What is known of a deployment when something must be decided about it: value types, no judgement."""

from __future__ import annotations

from datetime import date, datetime

import msgspec


class Product(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something installed in a deployment."""

    key: str
    name: str
    end_of_life: date | None = None
    """First day on which it is no longer sold (still supported)."""
    end_of_support: date | None = None
    """First day without support."""
    newest_version: str | None = None
    """``YYYY.Season.N``"""


class DeploymentFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the registry (and the agents) know of one installation."""

    licence: str
    theatre: str
    """A theatre of the policy, or ``rest-of-world``."""
    zone: str
    """IANA zone of the site: its local dates decide cover."""
    country: str | None = None
    """ISO 3166-1 alpha-2."""
    region: str | None = None
    """ISO 3166-2 subdivision without the country."""
    holiday_country: str | None = None
    """Whose public holidays count instead of the country's; None: by policy."""
    closing_days: tuple[date, ...] = ()
    asia_pacific: bool | None = None
    """None: told from the zone."""
    products: tuple[Product, ...] = ()
    """The base product first, then modules."""
    version: str | None = None
    """The platform's version as registered."""
    version_reported: str | None = None
    """The platform's version as an agent saw it."""
    version_reported_at: datetime | None = None
    opt_in: bool = False
    data_sending: bool = False
    connected: bool = False
    """Connected to the vendor's cloud: an enrolment fact, never cleared by silence."""
    customer_call: bool = False
    """The 24x7 call to the customer was activated."""
    contacts_24h: int = 0
    """Customer contacts with a phone reachable 24 h."""
    languages: tuple[str, ...] = ()
    """What the customer speaks, in order of preference."""
