"""Calendars out (RFC 5545): what a person's or a schedule's shifts look like in a calendar program.

Times are UTC, so no time zone definition has to travel with them. A shift's UID is made from what it is (its
schedule, layer, person and the start of its undisturbed stretch), not from how it is cut today: an
override that takes its middle away moves its end and adds a second event, and calendar programs update what
they have instead of showing both. A feed made twice from the same rota is the same, byte by byte.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from icalendar import Calendar, Event

from oncall.schedule import OVERRIDE, Schedule, Shift, shifts

PRODUCT = "-//UCX Proactive//On-call//EN"
REFRESH = timedelta(hours=1)
"""How often a calendar program is asked to look again."""
_SPARE = timedelta(days=45)
"""Shifts are worked out so much further than asked, so that none is cut at the feed's edges."""


def feed(
    name: str,
    schedules: Iterable[Schedule],
    person_key: str | None,
    names: Mapping[str, str],
    start: datetime,
    end: datetime,
    stamp: datetime,
) -> bytes:
    """The shifts that touch [start, end), of all ``schedules`` and of one person or everybody.

    ``names`` maps person keys to names to show; ``stamp`` is when the rota was last changed."""
    calendar = Calendar()
    calendar.add("prodid", PRODUCT)
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add("x-wr-calname", name)
    calendar.add("refresh-interval", REFRESH, parameters={"VALUE": "DURATION"})
    calendar.add("x-published-ttl", "PT1H")
    for schedule in schedules:
        found = shifts(schedule, start - _SPARE, end + _SPARE)
        for shift, uid in zip(found, uids(found), strict=True):
            wanted = person_key in (None, shift.person_key)
            if wanted and shift.start < end and shift.end > start:
                calendar.add_component(_event(shift, uid, names, stamp))
    return bytes(calendar.to_ical())


def uids(found: Sequence[Shift]) -> list[str]:
    """A stable UID for each shift; pieces of one stretch are told apart by their order."""
    seen: Counter[tuple[str, ...]] = Counter()
    result = []
    for shift in found:
        stretch = (shift.schedule, shift.layer, shift.person_key, shift.anchor.isoformat())
        text = "\n".join((*stretch, str(seen[stretch])))
        seen[stretch] += 1
        result.append(f"{hashlib.sha256(text.encode()).hexdigest()[:32]}@on-call.ucx-proactive")
    return result


def _event(shift: Shift, uid: str, names: Mapping[str, str], stamp: datetime) -> Event:
    event = Event()
    event.add("uid", uid)
    event.add("dtstamp", stamp)
    event.add("dtstart", shift.start)
    event.add("dtend", shift.end)
    event.add("summary", f"On call: {names.get(shift.person_key, shift.person_key)} ({shift.schedule})")
    how = "by an override" if shift.layer == OVERRIDE or shift.override_id else f"layer {shift.layer}"
    event.add("description", f"Schedule {shift.schedule}, {how}.")
    event.add("categories", [shift.schedule])
    event.add("transp", "TRANSPARENT")
    return event
