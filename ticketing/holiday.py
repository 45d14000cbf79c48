"""Public holidays per country and subdivision, by the ``holidays`` package, cached per year."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from datetime import date
from functools import cache, lru_cache

import holidays


@cache
def _supported() -> Mapping[str, list[str]]:
    return holidays.list_supported_countries(include_aliases=True)


def known_country(country: str) -> bool:
    """Whether holidays are known for an ISO 3166-1 alpha-2 code."""
    return country in _supported()


def known_region(country: str, region: str) -> bool:
    """Whether the country's subdivision (ISO 3166-2 without the country, as in ``MI``) is known."""
    return region in _supported().get(country, [])


@lru_cache(maxsize=4096)
def holidays_of(country: str, region: str | None, year: int) -> Mapping[date, str]:
    """Date -> English name, of one year. Raises KeyError for a country or region that is not known."""
    if not known_country(country) or (region and not known_region(country, region)):
        raise KeyError(f"{country}-{region}" if region else country)
    with warnings.catch_warnings():  # some countries warn of years whose moving feasts are not settled yet
        warnings.simplefilter("ignore")
        found = holidays.country_holidays(country, subdiv=region, years=year, language=_english(country))
    return {day: name for day, name in found.items() if day.year == year}


@cache
def _english(country: str) -> str | None:
    """The package's English for a country, so that the process's locale does not decide the texts."""
    languages = holidays.list_localized_countries(include_aliases=True).get(country, [])
    return next((code for code in languages if code.startswith("en")), None)
