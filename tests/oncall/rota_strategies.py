"""Hypothesis strategies for rotas: any IANA zone, 2020 to 2040, with a liking for the days clocks change."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from oncall.rotation import Rotation
from oncall.schedule import Absence, Layer, Override, Schedule
from oncall.wall import ALWAYS, Window, zone_names

PEOPLE = ("anna", "bruno", "chiara", "dario", "elena")
ZONES = sorted(name for name in zone_names() if "/" in name and not name.startswith(("posix/", "right/")))
KNOWN_TRICKY = ("Europe/Rome", "Australia/Lord_Howe", "America/New_York", "Africa/Casablanca", "Asia/Gaza")


@lru_cache(maxsize=4096)
def changes(zone: str, year: int) -> tuple[datetime, ...]:
    """The UTC days of ``year`` on which the zone's offset changes."""
    days = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(366)]
    offsets = [day.astimezone(ZoneInfo(zone)).utcoffset() for day in days]
    return tuple(day for day, a, b in zip(days, offsets, offsets[1:], strict=False) if a != b)


zones = st.sampled_from(KNOWN_TRICKY) | st.sampled_from(ZONES)


@st.composite
def moments(draw, zone: str) -> datetime:
    """A UTC minute, half the time on a day on which the zone's clocks change."""
    year = draw(st.integers(2020, 2040))
    minute = timedelta(minutes=draw(st.integers(0, 1439)))
    near = changes(zone, year)
    if near and draw(st.booleans()):
        return draw(st.sampled_from(near)) + minute
    return datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=draw(st.integers(0, 364))) + minute


windows = st.builds(Window, st.integers(0, 10079), st.integers(1, 4000) | st.sampled_from((60, 540, 10080)))
some_windows = st.just(ALWAYS) | st.lists(windows, min_size=1, max_size=4).map(tuple)
crews = st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=2, unique=True).map(tuple)


@st.composite
def rotations(draw, zone: str, around: datetime) -> Rotation:
    first = around.replace(tzinfo=None) - timedelta(minutes=draw(st.integers(-2000, 60 * 24 * 60)))
    turns = tuple(draw(st.lists(crews, min_size=1, max_size=4)))
    every = draw(st.sampled_from((1, 2, 5, 8, 12, 24, 48, 168)))
    return Rotation(turns, first, every, zone)


@st.composite
def layers(draw, name: str, zone: str, around: datetime) -> Layer:
    rotation = draw(rotations(draw(st.just(zone) | zones), around))
    return Layer(name, rotation, draw(some_windows), cover=draw(st.booleans()))


@st.composite
def schedules(draw) -> tuple[Schedule, datetime]:
    """A schedule, and a UTC minute in its interesting time."""
    zone = draw(zones)
    around = draw(moments(zone))

    def span() -> tuple[datetime, datetime]:
        start = around + timedelta(minutes=draw(st.integers(-2000, 4000)))
        return start, start + timedelta(minutes=draw(st.integers(1, 3000)))

    made = tuple(
        Override(str(n), draw(st.sampled_from(PEOPLE)), *span(), draw(st.none() | st.sampled_from(PEOPLE)))
        for n in range(draw(st.integers(0, 3)))
    )
    gone = tuple(Absence(draw(st.sampled_from(PEOPLE)), *span()) for _ in range(draw(st.integers(0, 3))))
    stack = tuple(draw(layers(f"layer {n}", zone, around)) for n in range(draw(st.integers(1, 3))))
    return Schedule("s", zone, stack, made, gone), around
