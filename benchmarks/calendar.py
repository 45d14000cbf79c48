"""How fast a deadline is: the calendar against a walk of every minute, on the same cases in the same run.

    python benchmarks/calendar.py [--cases 2000] [--walks 20] [--json]

Prints microseconds per deadline of 40 working hours (warm tables, as in a running desk), the cost of building
the tables of a year, the minute walk's time for the same deadlines, and the ratio. Exits with 1 when the two
disagree on a due time.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

HERE = Path(__file__).resolve().parent
if Path(sys.path[0]).resolve() == HERE:  # run as a script: never shadow the standard calendar
    sys.path[0] = str(HERE.parent)

from ticketing.calendar import WorkingCalendar, spec_for  # noqa: E402 - see above
from ticketing.holiday import holidays_of  # noqa: E402
from ticketing.releases import load_releases  # noqa: E402
from ticketing.terms import resolve  # noqa: E402

TARGET_S = 40 * 3600
MINUTE = timedelta(minutes=1)


def walk(start: datetime, minutes: int) -> datetime:
    """Europe's Gold hours, minute by minute: the way it is usually done."""
    zone, now = ZoneInfo("Europe/Rome"), start
    while minutes:
        local = now.astimezone(zone)
        holiday = local.date() in holidays_of("IT", None, local.year)
        minutes -= (local.weekday() < 6 or holiday) and 9 <= local.hour < 18
        now += MINUTE
    return now


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, help="deadlines computed by the calendar")
    parser.add_argument("--walks", type=int, default=20, help="of these, how many are walked too")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    found = measure(given.cases, given.walks)
    print(json.dumps(found) if given.json else "\n".join(f"{k:<28}{v:>14.2f}" for k, v in found.items()))
    return 1 if found["disagreements"] else 0


def measure(cases: int, walks: int) -> dict[str, float]:
    """Run both on random opening times of 2026 to 2028."""
    rng = random.Random(1)
    starts = [datetime(2026, 1, 1, tzinfo=UTC) + rng.randrange(2 * 365 * 1440) * MINUTE for _ in range(cases)]
    calendar, build_s = built()
    began = time.perf_counter()
    due = [calendar.add(start, TARGET_S) for start in starts]
    fast_s = (time.perf_counter() - began) / cases
    began = time.perf_counter()
    walked = [walk(start, TARGET_S // 60) for start in starts[:walks]]
    slow_s = (time.perf_counter() - began) / walks
    return {
        "calendar_us_per_deadline": fast_s * 1e6,
        "tables_of_a_year_ms": build_s * 1e3,
        "minute_walk_us_per_deadline": slow_s * 1e6,
        "ratio": slow_s / fast_s,
        "disagreements": float(sum(a != b for a, b in zip(due, walked, strict=False))),
    }


def built() -> tuple[WorkingCalendar, float]:
    """A Gold calendar with the tables of 2026 to 2028, and the seconds per year that they took."""
    opened = datetime(2026, 1, 1, tzinfo=UTC)
    release = load_releases()[0]
    terms, _ = resolve(release, plan="gold", licence="subscription", theatre="europe", at=opened)
    calendar = WorkingCalendar(spec_for(release, terms, "extended"))
    for year in (2026, 2027, 2028):
        holidays_of("IT", None, year)
    began = time.perf_counter()
    for year in (2026, 2027, 2028):
        calendar.is_open(datetime(year, 6, 1, tzinfo=UTC))
    return calendar, (time.perf_counter() - began) / 3


if __name__ == "__main__":
    raise SystemExit(main())
