"""An independent, slow reference for schedules: walk minute by minute and look at the clock on the wall.

It knows nothing of instants of wall times, of gaps or folds, of pieces or cuts. It keeps, per zone, the
latest wall time that the zone's clock has shown so far, and asks whose turn that is.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from oncall.schedule import Schedule

MINUTE = timedelta(minutes=1)


def walk(schedule: Schedule, start: datetime, end: datetime) -> Iterator[tuple[datetime, tuple[str, ...]]]:
    """Each minute of [start, end) with the people on call at it."""
    zones = {layer.rotation.zone for layer in schedule.layers}
    latest = dict.fromkeys(zones, datetime.fromisoformat("1970-01-01"))
    at = start - timedelta(days=3)  # so that a fold just before the start is remembered
    while at < end:
        for zone in zones:
            latest[zone] = max(latest[zone], at.astimezone(ZoneInfo(zone)).replace(tzinfo=None))
        if at >= start:
            yield at, on_call(schedule, at, latest)
        at += MINUTE


def on_call(schedule: Schedule, at: datetime, latest: dict[str, datetime]) -> tuple[str, ...]:
    made = [o for o in schedule.overrides if o.start <= at < o.end]
    gone = {a.person_key for a in schedule.absences if a.start <= at < a.end}

    def left(people: list[str], later: list) -> tuple[str, ...]:
        for o in later:
            if o.replaces is not None and o.person_key not in gone:
                people = [o.person_key if p == o.replaces else p for p in people]
        return tuple(dict.fromkeys(p for p in people if p not in gone))

    for i in range(len(made) - 1, -1, -1):
        if made[i].replaces is None and (people := left([made[i].person_key], made[i + 1 :])):
            return people
    for layer in reversed(schedule.layers):
        wall, rotation = latest[layer.rotation.zone], layer.rotation
        minute = wall.weekday() * 1440 + wall.hour * 60 + wall.minute
        if not any((minute - w.opens) % 10080 < w.length for w in layer.windows):
            continue
        if wall < rotation.starts or not layer.since <= at < layer.until:
            continue
        n = int((wall - rotation.starts).total_seconds() // (rotation.every_hours * 3600))
        for ahead in range(len(rotation.turns) if layer.cover else 1):
            if people := left(list(rotation.turns[(n + ahead) % len(rotation.turns)]), made):
                return people
    return ()
