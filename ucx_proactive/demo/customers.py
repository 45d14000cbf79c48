"""The demo's customers, with the contact's language and the site that goes with it.

An Arabic-speaking customer is served from the Middle East, a Spanish- or Portuguese-speaking one (like a
French- or German-speaking one) from Europe, where that language is optional: the record then says so.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml


class Customer(StrEnum):
    """Whose host this machine plays."""

    PLATINUM = "platinum"
    GOLD = "gold"
    BASIC = "basic"
    BASIC_CLOUD = "basic-cloud"


class Tongue(StrEnum):
    """The language of the customer's contact."""

    IT = "it"
    EN = "en"
    FR = "fr"
    DE = "de"
    ES = "es"
    PT = "pt"
    AR = "ar"


NAMES = {
    Customer.PLATINUM: "Platinum Clinic",
    Customer.GOLD: "Gold Hotels",
    Customer.BASIC: "Basic Books",
    Customer.BASIC_CLOUD: "Basic Bikes",
}
_MIDDLE_EAST = {"theatre": "me-mon-fri", "zone": "Asia/Dubai", "country": "AE"}


def tenant(customer: Customer) -> str:
    """The customer's key in the registry."""
    return f"demo-{customer}"


def address(customer: Customer) -> str:
    """The contact's mail address."""
    return f"it@{customer}.example"


def registry(customer: Customer, language: Tongue) -> str:
    """The registry document: ``customers.yaml`` with this customer's contact speaking ``language``."""
    text = Path(__file__).with_name("customers.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    chosen = document["tenants"][tenant(customer)]
    chosen["contacts"]["reception"]["languages"] = [str(language)]
    if language is Tongue.AR:
        chosen["deployments"]["main"] |= _MIDDLE_EAST
    return yaml.safe_dump(document, sort_keys=False)
