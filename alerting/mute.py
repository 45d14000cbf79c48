"""Silences and maintenance windows: when and for what nobody is to be bothered. Pure.

Muted means not told, not unmeasured: alerts live on, and what still fires when a mute ends is told then.
A recurring mute recurs in the wall time of its zone: 02:00 to 04:00 is that on the days when clocks change,
too (one or three hours long then); a start or an end that the clocks skip moves on by what they skip, and of
a time that comes twice the whole of both is covered.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from dateutil.rrule import rrule, rrulestr

from alerting import regex
from alerting.rule import pattern_matches

_FREQUENCIES = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_WEEKDAY = "(MO|TU|WE|TH|FR|SA|SU)"
_PARTS = {
    "FREQ": "|".join(_FREQUENCIES),
    "INTERVAL": "0*[1-9][0-9]{0,2}",
    "COUNT": "0*[1-9][0-9]{0,3}",
    "UNTIL": "[0-9]{8}(T[0-9]{6}Z?)?",
    "BYDAY": f"([+-]?0*([1-9]|[1-4][0-9]|5[0-3]))?{_WEEKDAY}",
    "BYMONTHDAY": "[+-]?0*([1-9]|[12][0-9]|3[01])",
    "BYMONTH": "0*([1-9]|1[0-2])",
    "BYHOUR": "0*([0-9]|1[0-9]|2[0-3])",
    "BYSETPOS": "[+-]?0*[1-9][0-9]{0,2}",
    "WKST": _WEEKDAY,
}
"""Parts of a recurrence that are read, and what each of their values looks like: what would recur within an
hour costs the evaluation too much, and of an interval of 0 the library would never come back."""
_LISTS = frozenset({"BYDAY", "BYMONTHDAY", "BYMONTH", "BYHOUR", "BYSETPOS"})
_NTH_OF_MONTH = re.compile("[+-]?0*[1-5]?[A-Z]+")
MOST_AT_ONCE = 100
"""Occurrences of one mute that may be on together: each is looked at whenever an alert is."""
_HORIZON = timedelta(days=9 * 366)
"""A recurrence begins at least once within so long (29 February may have to wait for eight years)."""
_LAST_YEARS = range(9961, 9989)
"""28 years: days of the week and leap years fall in each of their ways once; with room behind them."""
_IN_EVERY_MONTH = 28
_UNTIL = re.compile(r"UNTIL=(\d{8}T\d{6})Z")
_MARGIN = timedelta(days=1)
"""Wider than any zone's shift, so that no occurrence is overlooked about a change of clocks."""
MAX_DURATION = timedelta(days=366)
_UNLIKELY = "\u2603 no label has this value 7Q"
"""A matcher that accepts even this accepts everything."""


class Matcher(msgspec.Struct, frozen=True, array_like=True):
    """One condition on a label of the alert."""

    label: str
    op: Literal["=", "!=", "==", "!==", "=~", "!~"]
    pattern: str
    """With ``=`` and ``!=``, ``*`` stands for any run of characters and case does not matter; ``==`` and
    ``!==`` compare exactly; ``=~`` and ``!~`` take an RE2 expression for the whole text."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """An absent label is the empty text; an alert without ``alertname`` goes by its rule's id."""
        fallback = labels.get("rule", "") if self.label == "alertname" else ""
        return self.accepts(labels.get(self.label, fallback))

    def accepts(self, text: str) -> bool:
        """Whether a label of this value passes."""
        match self.op.lstrip("!"):
            case "==":
                alike = self.pattern == text
            case "=~" | "~":
                alike = regex.matches(self.pattern, text)
            case _:
                alike = pattern_matches(self.pattern, text)
        return alike is not self.op.startswith("!")

    @property
    def narrows(self) -> bool:
        """Whether it asks for something, rather than letting nearly everything pass."""
        return not (self.op.startswith("!") or self.accepts("") or self.accepts(_UNLIKELY))


class Mute(msgspec.Struct, frozen=True):
    """A silence or a maintenance window."""

    mute_id: UUID
    kind: Literal["silence", "maintenance"]
    matchers: tuple[Matcher, ...]
    """All must match; at least one."""
    title: str
    author: str
    starts_at: datetime
    """Of the first occurrence."""
    ends_at: datetime
    recurrence: str
    """RFC 5545 RRULE without its name; empty: once."""
    zone: str

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with these labels is meant."""
        return all(matcher.matches(labels) for matcher in self.matchers)


class Occurrence(msgspec.Struct, frozen=True):
    """One stretch of time: ``start`` included, ``end`` not."""

    start: datetime
    end: datetime


def occurrence_at(mute: Mute, at: datetime) -> Occurrence | None:
    """The occurrence that covers a time; None: none does."""
    found = [o for o in occurrences(mute, at, at) if o.start <= at < o.end]
    return max(found, key=lambda o: o.end) if found else None


def occurrences(mute: Mute, start: datetime, end: datetime) -> list[Occurrence]:
    """The occurrences that touch a span of time, in order."""
    if not mute.recurrence:
        once = Occurrence(mute.starts_at, mute.ends_at)
        return [once] if once.start <= end and once.end >= start else []
    zone = ZoneInfo(mute.zone)
    first, last = _wall(mute.starts_at, zone), _wall(mute.ends_at, zone)
    since, until = _wall(start, zone) - (last - first) - _MARGIN, _wall(end, zone) + _MARGIN
    begins = _begins(mute.recurrence, first, mute.zone, _midnight(since), _midnight(until + _MARGIN))
    found = [Occurrence(_utc(b, zone, fold=0), _latest_utc(b + (last - first), zone)) for b in begins]
    return [o for o in found if o.start <= end and o.end >= start]


def last_end(mute: Mute, at: datetime) -> datetime | None:
    """When a mute that covers ``at`` ends for good; None: it does not cover it, or comes again."""
    now = occurrence_at(mute, at)
    if now is None or not mute.recurrence:
        return now.end if now else None
    zone = ZoneInfo(mute.zone)
    begun = _wall(now.start, zone)
    near = _near(mute.recurrence, _wall(mute.starts_at, zone), begun)
    return None if read_recurrence(mute.recurrence, near, zone).after(begun) else now.end


@lru_cache(maxsize=4096)
def _begins(text: str, first: datetime, zone: str, since: datetime, until: datetime) -> tuple[datetime, ...]:
    """Wall times at which a recurrence begins. Remembered, as a recurrence is counted from its first time on
    and is asked about in every commit: whole days are asked for, so that one answer serves a day."""
    try:
        rule = read_recurrence(text, _near(text, first, since), ZoneInfo(zone))
    except ValueError:  # stored before it was refused; what cannot be told covers nothing
        return ()
    return tuple(rule.between(since, until, inc=True))


def _near(text: str, first: datetime, since: datetime) -> datetime:
    """A start in step with the first one, not after ``since``: what began years ago is not counted out."""
    parts = _read_parts(text)
    interval = int(parts.get("INTERVAL", "1"))
    if "COUNT" in parts or since <= first:
        return first
    if parts["FREQ"] in ("DAILY", "WEEKLY"):
        step = timedelta(days=interval * (7 if parts["FREQ"] == "WEEKLY" else 1))
        return first + (since - first) // step * step
    if first.day > _IN_EVERY_MONTH and not {"BYDAY", "BYMONTHDAY"} & parts.keys():
        return first  # the rule goes by this very day, which not every month has
    months = interval * (12 if parts["FREQ"] == "YEARLY" else 1)
    passed = (since.year - first.year) * 12 + since.month - first.month - 1
    at = first.year * 12 + first.month - 1 + max(passed // months, 0) * months
    return first if passed < months else first.replace(at // 12, at % 12 + 1, min(first.day, _IN_EVERY_MONTH))


def _midnight(wall: datetime) -> datetime:
    return wall.replace(hour=0, minute=0, second=0, microsecond=0)


def _wall(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None)


def _utc(wall: datetime, zone: ZoneInfo, *, fold: int) -> datetime:
    return wall.replace(tzinfo=zone, fold=fold).astimezone(UTC)


def _latest_utc(wall: datetime, zone: ZoneInfo) -> datetime:
    """The later reading of a wall time: of one that comes twice the second, of one that is skipped the one
    that moves on."""
    return max(_utc(wall, zone, fold=0), _utc(wall, zone, fold=1))


def read_recurrence(text: str, first: datetime, zone: ZoneInfo) -> rrule:
    """The rule of a recurrence whose first occurrence begins at wall time ``first``. Raises ValueError."""
    _read_parts(text)
    local = _UNTIL.sub(lambda m: f"UNTIL={_local(m[1], zone)}", text.upper())
    try:
        rule = rrulestr(local, dtstart=first)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"'{text}' is no recurrence (RFC 5545 RRULE): {error}") from error
    if not isinstance(rule, rrule):
        raise ValueError(f"'{text}' must be one RRULE")  # noqa: TRY004 - a fault of the text, like the others
    return rule


def _read_parts(text: str) -> dict[str, str]:
    """The parts of a recurrence by their names. Raises ValueError."""
    named = [part.partition("=")[::2] for part in text.upper().split(";")]
    parts = dict(named)
    if unknown := sorted(parts.keys() - _PARTS.keys()):
        raise ValueError(f"{unknown[0]} is not read here; known are {', '.join(sorted(_PARTS))}")
    if parts.get("FREQ") not in _FREQUENCIES:
        raise ValueError(f"a recurrence has FREQ={' | '.join(_FREQUENCIES)}, as in FREQ=WEEKLY;BYDAY=SU")
    if len(parts) < len(named):
        raise ValueError("a part of a recurrence stands once")
    for name, value in named:
        values = value.split(",") if name in _LISTS else [value]
        if not all(re.fullmatch(_PARTS[name], one) for one in values):
            raise ValueError(f"{name}={value} is not in the range of a recurrence (RFC 5545)")
    monthly = parts["FREQ"] == "MONTHLY" or "BYMONTH" in parts
    if monthly and not all(_NTH_OF_MONTH.fullmatch(day) for day in parts.get("BYDAY", "MO").split(",")):
        raise ValueError(f"BYDAY={parts['BYDAY']}: no month has so many weeks")
    return parts


def _local(until: str, zone: ZoneInfo) -> str:
    at = datetime.strptime(until, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    return f"{_wall(at, zone):%Y%m%dT%H%M%S}"


def reason(mutes: Iterable[Mute], labels: Mapping[str, str], at: datetime) -> str | None:
    """Why an alert with these labels is muted at a time, by the mute that ends last; None: it is not."""
    covering = [(o.end, m) for m in mutes if m.matches(labels) and (o := occurrence_at(m, at))]
    if not covering:
        return None
    end, mute = max(covering, key=lambda pair: (pair[0], str(pair[1].mute_id)))
    what = "maintenance" if mute.kind == "maintenance" else f"silenced by {mute.author}"
    return f"{what} until {end:%Y-%m-%d %H:%M}Z: {mute.title}"


def faults(mute: Mute) -> list[tuple[str, str]]:
    """What is wrong with a mute, as (field, message)."""
    found = []
    if not mute.matchers:
        found.append(("matchers", "must name at least one label: nobody silences everything"))
    bad = [message for m in mute.matchers if m.op in ("=~", "!~") and (message := regex.fault(m.pattern))]
    found += [("matchers", message) for message in bad]
    if not bad and not any(m.narrows for m in mute.matchers):
        found.append(("matchers", "must name at least one label with '=' and a pattern that is not just '*'"))
    if not mute.starts_at < mute.ends_at <= mute.starts_at + MAX_DURATION:
        found.append(("ends_at", "must lie after 'starts_at', by at most 366 days"))
    return found + _recurrence_faults(mute)


def _late(first: datetime) -> datetime:
    """The same day near the end of the calendar, in a year that weekdays and leap years fall alike about.

    A rule that matches no day is counted out to the end of the calendar, whatever its bound: from our years
    on that held up the process, and with it every customer's samples, for up to twenty seconds."""
    year = next(
        year
        for year in _LAST_YEARS
        if year % 4 == first.year % 4 and calendar.weekday(year, 1, 1) == calendar.weekday(first.year, 1, 1)
    )
    return first.replace(year=year)


def _recurrence_faults(mute: Mute) -> list[tuple[str, str]]:
    try:
        zone = ZoneInfo(mute.zone)
    except (ValueError, OSError, KeyError):
        return [("zone", f"'{mute.zone}' is no IANA zone, as in Europe/Rome")]
    if not mute.recurrence:
        return []
    try:
        start = _wall(mute.starts_at, zone)
        rule, first = read_recurrence(mute.recurrence, start, zone), _late(start)
        if next(iter(rule.replace(dtstart=first, until=first + _HORIZON)), None) is None:
            return [("recurrence", "never begins")]
        if len(rule.between(start, start + (mute.ends_at - mute.starts_at))) > MOST_AT_ONCE:
            return [("recurrence", f"more than {MOST_AT_ONCE} occurrences would be on at once")]
    except (ValueError, OverflowError) as error:
        return [("recurrence", str(error))]
    return []
