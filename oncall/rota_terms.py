"""The small languages inside a rota file: windows, periods, durations, times.

    window     ``mon-fri 18:00-09:00``  ``sat,sun 00:00-24:00``  ``09:00-18:00``  ``fri 18:00 - mon 09:00``
    period     ``day``  ``week``  ``12 hours``  ``3 days``  ``2 weeks``
    duration   ``40s``  ``5m``  ``1h``
    time       ``2026-12-24 18:00`` (on the wall), ``2026-12-24`` (a whole day), ``2026-12-24T17:00:00Z``

Each parser takes the text and raises ValueError with what would be right.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

import holidays

from oncall.wall import EARLIEST, LATEST, MINUTES_PER_DAY, MINUTES_PER_WEEK, Window, instant, zone_names

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_CLOCK = r"(\d{1,2}):(\d{2})"
_DAILY = re.compile(rf"(?:([a-z][a-z,\- ]*?)\s+)?{_CLOCK}\s*-\s*{_CLOCK}")
_WEEKLY = re.compile(rf"([a-z]{{3}})\s+{_CLOCK}\s*-\s*([a-z]{{3}})\s+{_CLOCK}")
_EVERY = re.compile(r"(?:(\d{1,4})\s+)?(hour|day|week)s?")
_HOURS = {"hour": 1, "day": 24, "week": 168}
_DURATION = re.compile(r"(\d{1,6})\s*([smh])")
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_MAX_EVERY_HOURS = 366 * 24


def name(text: str) -> str:
    """A name of ours: lower case, digits, dashes."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"'{text}' is no name: lower case letters, digits and dashes, at most 63")
    return text


def zone(text: str) -> str:
    """An IANA zone."""
    if text not in zone_names():
        raise ValueError(f"'{text}' is not an IANA zone, as in Europe/Rome")
    return text


def every_hours(text: str) -> int:
    """Hours on the wall between two hand-overs."""
    match = _EVERY.fullmatch(text)
    hours = int(match[1] or 1) * _HOURS[match[2]] if match else 0
    if not 0 < hours <= _MAX_EVERY_HOURS:
        raise ValueError(f"'{text}' is no period: day, week, 12 hours, 3 days ... (at most a year)")
    return hours


def seconds(text: str) -> int:
    """A duration in seconds."""
    match = _DURATION.fullmatch(text)
    if not match or not (value := int(match[1]) * _SECONDS[match[2]]):
        raise ValueError(f"'{text}' is no duration: 40s, 5m, 1h ...")
    return value


def count(text: str) -> int:
    """A number from 1 to 20."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 20:
        raise ValueError(f"'{text}' is not a whole number from 1 to 20")
    return int(text)


def yes_no(text: str) -> bool:
    """``yes``/``true`` or ``no``/``false``."""
    answers = {"yes": True, "true": True, "no": False, "false": False}
    if text not in answers:
        raise ValueError(f"'{text}' is neither yes nor no")
    return answers[text]


def windows(text: str) -> tuple[Window, ...]:
    """The windows that one text stands for: one per day named."""
    text = text.lower()
    weekly = _WEEKLY.fullmatch(text)
    if weekly:
        opens = _day(weekly[1]) * MINUTES_PER_DAY + _minute(weekly[2], weekly[3], last=False)
        closes = _day(weekly[4]) * MINUTES_PER_DAY + _minute(weekly[5], weekly[6], last=True)
        return (_window(opens, closes, MINUTES_PER_WEEK),)
    daily = _DAILY.fullmatch(text)
    if not daily:
        raise ValueError(f"'{text}' is no window: mon-fri 18:00-09:00, 09:00-18:00, fri 18:00 - mon 09:00")
    opens, closes = _minute(daily[2], daily[3], last=False), _minute(daily[4], daily[5], last=True)
    window = _window(opens, closes, MINUTES_PER_DAY)
    return tuple(Window(day * MINUTES_PER_DAY + opens, window.length) for day in _days(daily[1]))


def _window(opens: int, closes: int, period: int) -> Window:
    return Window(opens % MINUTES_PER_WEEK, (closes - opens - 1) % period + 1)


def _days(text: str | None) -> list[int]:
    if text is None or text.strip() == "daily":
        return list(range(7))
    found: list[int] = []
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        a, b = _day(first), _day(last if dash else first)
        found += [(a + n) % 7 for n in range((b - a) % 7 + 1)]
    return sorted(set(found))


def _day(text: str) -> int:
    if text not in DAYS:
        raise ValueError(f"'{text}' is no weekday: {', '.join(DAYS)}")
    return DAYS.index(text)


def _minute(hour: str, minute: str, *, last: bool) -> int:
    """Minute of the day; 24:00 only where a window closes."""
    h, m = int(hour), int(minute)
    if m > 59 or h * 60 + m > (MINUTES_PER_DAY if last else MINUTES_PER_DAY - 1):
        raise ValueError(f"'{hour}:{minute}' is no time of day")
    return h * 60 + m


def wall(text: str) -> datetime:
    """A naive time on the wall: date, or date and time without an offset."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"'{text}' is no time: 2026-12-24 18:00") from None
    if found.tzinfo is not None:
        raise ValueError(f"'{text}' has an offset; a time on the wall has none")
    if found.second or found.microsecond:
        raise ValueError(f"'{text}': whole minutes, please")
    return _sane(found.replace(tzinfo=UTC)).replace(tzinfo=None)


def moment(text: str, zone: str, *, last: bool = False) -> datetime:
    """An instant (UTC) from a time on ``zone``'s wall, a date, or a time with an offset.

    ``last``: it ends something, so a bare date includes that whole day."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"'{text}' is no time: 2026-12-24, 2026-12-24 18:00, 2026-12-24T17:00Z") from None
    if last and _is_date(text):
        found += timedelta(days=1)
    if found.tzinfo is None:
        return instant(_sane(found.replace(tzinfo=UTC)).replace(tzinfo=None), zone)
    return _sane(found).astimezone(UTC)


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _sane(found: datetime) -> datetime:
    if not EARLIEST + timedelta(days=400) <= found <= LATEST - timedelta(days=4000):
        raise ValueError(f"'{found:%Y-%m-%d}' is out of range: years 2002 to 2188")
    return found


@lru_cache(maxsize=64)
def holidays_of(country: str) -> frozenset[date]:
    """Public holidays of a country (ISO 3166-1 alpha-2), 2020 to 2045."""
    if country not in holidays.list_supported_countries():
        raise ValueError(f"'{country}' is no country with known holidays (ISO 3166-1 alpha-2, as in IT)")
    return frozenset(holidays.country_holidays(country, years=range(2020, 2046)))


def midnight(day: date, zone: str) -> datetime:
    """The instant at which ``day`` begins in ``zone``."""
    return instant(datetime.combine(day, time()), zone)
