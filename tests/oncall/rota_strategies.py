"""Hypothesis strategies for rotas: any IANA zone, 2020 to 2040, with a liking for the days clocks change."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from oncall.rotation import Rotation
from oncall.schedule import Absence, Layer, Override, Schedule
from oncall.wall import ALWAYS, Window, reading, zone_names

PEOPLE = ("anna", "bruno", "chiara", "dario", "elena")
ZONES = sorted(name for name in zone_names() if "/" in name and not name.startswith(("posix/", "right/")))
KNOWN_TRICKY = ("Europe/Rome", "Australia/Lord_Howe", "America/New_York", "Africa/Casablanca", "Asia/Gaza")


@lru_cache(maxsize=4096)
def changes(zone: str, year: int) -> tuple[datetime, ...]:
    """The minutes of ``year`` at which the zone's offset changes."""
    days = [datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=n) for n in range(366)]
    return tuple(_change(zone, a, b) for a, b in pairwise(days) if _offset(zone, a) != _offset(zone, b))


def _offset(zone: str, at: datetime) -> timedelta | None:
    return at.astimezone(ZoneInfo(zone)).utcoffset()


def _change(zone: str, a: datetime, b: datetime) -> datetime:
    minutes = (a + timedelta(minutes=n) for n in range(1, 1441))
    return next(at for at in minutes if _offset(zone, at) == _offset(zone, b))


zones = st.sampled_from(KNOWN_TRICKY) | st.sampled_from(ZONES)


@st.composite
def moments(draw, zone: str) -> datetime:
    """A UTC minute, mostly within the hour of a change of the zone's clocks."""
    year = draw(st.integers(2020, 2040))
    near = changes(zone, year)
    if near and draw(st.integers(0, 3)):
        return draw(st.sampled_from(near)) + timedelta(minutes=draw(st.integers(-60, 60)))
    minute = timedelta(minutes=draw(st.integers(0, 1439)))
    return datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=draw(st.integers(0, 364))) + minute


@st.composite
def windows(draw, zone: str, around: datetime) -> tuple[Window, ...]:
    """Always, or windows that like to open or close where the clocks change."""
    if draw(st.booleans()):
        return ALWAYS
    shown = reading(around, zone)
    here = shown.weekday() * 1440 + shown.hour * 60 + shown.minute
    found = []
    for _ in range(draw(st.integers(1, 4))):
        length = draw(st.sampled_from((30, 60, 540, 1440, 10080)) | st.integers(1, 4000))
        edge = here + draw(st.integers(-120, 120)) - draw(st.sampled_from((0, length)))
        found.append(Window(edge % 10080, length))
    return tuple(found)


crews = st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=2, unique=True).map(tuple)


@st.composite
def rotations(draw, zone: str, around: datetime) -> Rotation:
    every = draw(st.sampled_from((1, 2, 5, 8, 12, 24, 48, 168)))
    before = draw(st.integers(-1, 60)) * timedelta(hours=every) + timedelta(
        minutes=draw(st.integers(-90, 90))
    )
    first = reading(around, zone) - before
    turns = tuple(draw(st.lists(crews, min_size=1, max_size=4)))
    return Rotation(turns, first, every, zone)


@st.composite
def layers(draw, name: str, zone: str, around: datetime) -> Layer:
    zone = draw(st.just(zone) | zones)
    rotation = draw(rotations(zone, around))
    return Layer(name, rotation, draw(windows(zone, around)), cover=draw(st.booleans()))


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
