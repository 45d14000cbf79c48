"""Reading a rota file from disk, with the calendars that stand beside it."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from oncall.document import MAX_BYTES, Fault
from oncall.ical_import import BadCalendar, Task, read
from oncall.rota_file import BadRota, CalendarRef, Rota, parse, with_absences
from oncall.schedule import Absence

BACK, AHEAD = timedelta(days=400), timedelta(days=1200)
"""Recurring absences of calendars are unfolded so far around now."""


async def read_rota(path: Path, now: datetime) -> Rota:
    """The rota in the file ``path``. Raises BadRota with all faults."""
    with path.open("rb") as file:
        text = file.read(MAX_BYTES + 1).decode("utf-8", "surrogateescape")
    rota = parse(text)
    absences: list[Absence] = []
    faults: list[Fault] = []
    for ref in rota.calendars:
        try:
            absences += await _calendar(path.parent, ref, rota, now)
        except (BadCalendar, OSError) as error:
            faults.append(Fault(ref.line, "absences.calendar", f"{ref.path}: {error}"))
    if faults:
        raise BadRota(faults)
    return with_absences(rota, absences)


async def _calendar(folder: Path, ref: CalendarRef, rota: Rota, now: datetime) -> tuple[Absence, ...]:
    text = (folder / ref.path).read_text("utf-8", "surrogateescape")
    task = Task(text, ref.person_key, rota.people[ref.person_key].zone, now - BACK, now + AHEAD)
    return await read(task)
