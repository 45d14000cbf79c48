"""The English texts of all reasons: the message ids of the translations."""

from __future__ import annotations

TEMPLATES: dict[str, str] = {
    # --- terms ---
    "theatre": "served by the theatre {theatre}",
    "theatre-nearest": "rest of the world: the hours of {theatre}, whose UTC offset is nearest to {zone}",
    "holidays": "public holidays of {country} count",
    "holidays-region": "public holidays of {country} with its region {region} count",
    "holidays-unknown": "no public holidays are known for {country}: those of {instead} count",
    "region-unknown": "the region {region} of {country} is not known: national holidays count",
    "language-main": "handled in {language}, a main language of {theatre}",
    "language-optional": "handled in {language}, optional in {theatre}: the SLA is not guaranteed",
    "language-default": "handled in {language}: no language was asked for",
    "language-missing": "handled in {language}: {theatre} does not speak {wanted}",
}
