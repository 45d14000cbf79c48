"""How rotas are shown: plain values for JSON, lines of text for people. Both say the same."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from oncall.fairness import Burden
from oncall.gaps import Gap
from oncall.schedule import OnCall, Schedule, Shift, in_order, who
from oncall.watch import Look

Names = Mapping[str, str]


def who_view(schedules: Iterable[Schedule], at: datetime, names: Names) -> dict[str, Any]:
    """Who is on call at ``at``, schedule by schedule."""
    return {
        "at": stamp(at),
        "schedules": [
            {"schedule": schedule.name, "on_call": [_on_call(one, names) for one in who(schedule, at)]}
            for schedule in schedules
        ],
    }


def _on_call(one: OnCall, names: Names) -> dict[str, Any]:
    return {
        "person": one.person_key,
        "name": names.get(one.person_key, one.person_key),
        "layer": one.layer,
        "until": stamp(one.until) if one.until else None,
    }


def shift_view(shift: Shift, names: Names) -> dict[str, Any]:
    """One shift."""
    return {
        "schedule": shift.schedule,
        "layer": shift.layer,
        "person": shift.person_key,
        "name": names.get(shift.person_key, shift.person_key),
        "start": stamp(shift.start),
        "end": stamp(shift.end),
        "override": shift.override_id,
    }


def gap_view(gap: Gap) -> dict[str, Any]:
    """One gap."""
    return {
        "subject": gap.subject,
        "start": stamp(gap.start),
        "end": stamp(gap.end),
        "seconds": int((gap.end - gap.start).total_seconds()),
        "reason": gap.reason,
    }


def look_view(look: Look) -> dict[str, Any]:
    """What a look for gaps found."""
    return {
        "at": stamp(look.at),
        "occasion": look.occasion,
        "from": stamp(look.start),
        "to": stamp(look.end),
        "fault": look.fault,
        "gaps": [gap_view(gap) for gap in look.gaps],
    }


def burden_view(line: Burden, names: Names) -> dict[str, Any]:
    """What one person carries."""
    return {
        "person": line.person_key,
        "name": names.get(line.person_key, line.person_key),
        "shifts": line.shifts,
        "hours": line.hours,
        "night_hours": line.night_hours,
        "weekend_hours": line.weekend_hours,
        "holiday_hours": line.holiday_hours,
        "holiday_balance": line.holiday_balance,
        "holidays": [day.isoformat() for day in line.holidays],
    }


def who_lines(schedules: Iterable[Schedule], at: datetime, names: Names, zone: str) -> list[str]:
    """Who is on call at ``at``, one line per person, on ``zone``'s wall clock."""
    lines = []
    for schedule in schedules:
        found = who(schedule, at)
        lines += [_who_line(schedule, one, names, zone) for one in found]
        lines += [] if found else [f"{schedule.name}: NOBODY is on call"]
    return lines


def _who_line(schedule: Schedule, one: OnCall, names: Names, zone: str) -> str:
    until = local(one.until, zone) if one.until else "no end in sight"
    return f"{schedule.name}: {names.get(one.person_key, one.person_key)} ({one.layer}) until {until}"


def shift_lines(schedule: Schedule, found: Sequence[Shift], names: Names, zone: str) -> list[str]:
    """One line per shift, on ``zone``'s wall clock."""
    return [
        f"{schedule.name}: {local(s.start, zone)} - {local(s.end, zone)}  "
        f"{names.get(s.person_key, s.person_key)} ({s.layer})"
        for s in sorted(in_order(found), key=lambda shift: shift.start)
    ]


def gap_lines(gaps: Iterable[Gap], zone: str) -> list[str]:
    """One line per gap, on ``zone``'s wall clock."""
    return [
        f"{gap.subject}: {local(gap.start, zone)} - {local(gap.end, zone)} ({length(gap)}): {gap.reason}"
        for gap in gaps
    ]


def burden_lines(lines: Iterable[Burden], names: Names) -> list[str]:
    """A table: who carries how much."""
    columns = ("hours", "nights", "weekends", "holidays", "balance")
    head = f"{'person':<24}{'shifts':>8}" + "".join(f"{column:>10}" for column in columns)
    rows = [
        f"{names.get(one.person_key, one.person_key)[:23]:<24}{one.shifts:>8}{one.hours:>10.1f}"
        f"{one.night_hours:>10.1f}{one.weekend_hours:>10.1f}{one.holiday_hours:>10.1f}{one.holiday_balance:>+10.1f}"
        + ("  " + ", ".join(day.isoformat() for day in one.holidays) if one.holidays else "")
        for one in lines
    ]
    return [head, *rows]


def length(gap: Gap) -> str:
    """A gap's length in words: ``2 d 3 h``, ``45 min``, ``30 s``."""
    left, words = int((gap.end - gap.start).total_seconds()), []
    for unit, seconds in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, seconds)
        words += [f"{count} {unit}"] if count else []
    return " ".join(words)


def local(at: datetime, zone: str) -> str:
    """An instant on a zone's wall, with its offset, to the second where there are seconds."""
    shown = at.astimezone(ZoneInfo(zone))
    text = shown.strftime("%a %Y-%m-%d %H:%M" + (":%S" if shown.second else ""))
    return f"{text} {shown.strftime('%z')[:3]}:{shown.strftime('%z')[3:5]}"


def stamp(at: datetime) -> str:
    """RFC 3339 in UTC."""
    return at.isoformat().replace("+00:00", "Z")
