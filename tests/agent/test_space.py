"""How full a SQL Server database is: by what its files may become."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.databases.space import PAGE, File, capacity, express_limit, grown, space, within_edition

GB = 1 << 30
PAGES_OF_GB = GB // PAGE


def row(
    size_gb: float,
    most: int = -1,
    growth: int = 8192,
    share: int = 0,
    log: bool = False,
    free_gb: float | None = 100,
) -> File:
    """A file as SQL Server tells it."""
    volume, free = (None, None) if free_gb is None else ("D:\\", int(free_gb * GB))
    return File.of_row([int(log), int(size_gb * PAGES_OF_GB), most, growth, share, volume, free])


@pytest.mark.parametrize(
    ("version", "gigabytes"),
    [("9.0.5000", 4), ("10.0.1600.22", 4), ("10.50.1600.1", 10), ("15.0.2000.5", 10), ("17.0.1000.7", 50)],
)
def test_what_express_allows(version: str, gigabytes: int) -> None:
    """4 GB until 2008, 10 GB from 2008 R2 on, 50 GB from 2025 on."""
    assert express_limit(version) == gigabytes * GB


@pytest.mark.parametrize(
    ("file", "gigabytes"),
    [
        (row(4), 104),
        (row(4, growth=0), 4),
        (row(4, most=6 * PAGES_OF_GB), 6),
        (row(4, most=0), 4),
        (row(4, most=6 * PAGES_OF_GB, free_gb=1), 5),
        (row(4, most=6 * PAGES_OF_GB, free_gb=None), 6),
        (row(4, most=3 * PAGES_OF_GB), 4),
        (row(1, most=268_435_456, log=True), 101),
        (row(4, free_gb=None), None),
    ],
    ids=["volume", "fixed", "own", "full", "smaller", "own-only", "shrunk-limit", "log", "unknown"],
)
def test_where_a_file_ends(file: File, gigabytes: float | None) -> None:
    """At its own limit or its volume's, whichever comes first; not known when neither is."""
    assert capacity([file]) == (None if gigabytes is None else gigabytes * GB)


def test_room_on_a_volume_counts_once() -> None:
    """Two files share its 10 GB; on two volumes each has its own."""
    assert capacity([row(1, free_gb=10), row(1, free_gb=10)]) == 12 * GB
    other = row(1, free_gb=10)._replace(volume="E:\\")
    assert capacity([row(1, free_gb=10), other]) == 22 * GB


def test_a_last_step_that_does_not_fit_is_not_room() -> None:
    """9.5 GB growing by 1 GB ends there, since 10.5 GB is more than Express allows: nearly full is full."""
    file = row(9.5, growth=PAGES_OF_GB)
    assert within_edition([file], 10 * GB) == 9.5 * GB
    full = space([file], 9.4 * GB, None, 10 * GB)
    assert full.size_share == pytest.approx(9.4 / 9.5)
    small = row(9.5, growth=1024)
    assert within_edition([small], 10 * GB) == 10 * GB
    assert within_edition([row(8, growth=10, share=1)], 10 * GB) == pytest.approx(8 * 1.1**2 * GB)


def test_space_that_is_allocated_but_not_used_is_free() -> None:
    """A file made 10 GB large at once for 2 GB of data wakes nobody."""
    found = space([row(10)], 2 * GB, None, 10 * GB)
    assert (found.size, found.size_share, found.free) == (10 * GB, 0.2, 8 * GB)


def test_without_used_space_nothing_is_guessed() -> None:
    """Only the size is known."""
    found = space([row(4), row(1, log=True)], None, None, None)
    assert (found.size, found.log_size) == (4 * GB, GB)
    assert (found.free, found.free_share, found.size_share, found.log_share) == (None, None, None, None)


sizes = st.floats(0, 1000 * GB)


@given(sizes, st.floats(0, 100 * GB) | st.floats(0, 1), st.booleans(), sizes)
def test_growth_never_passes_its_limit(size: float, step: float, by_share: bool, most: float) -> None:
    """Whole steps from the size, the last of which fits."""
    reached = grown(size, min(step, 10.0) if by_share else step, by_share, most)
    assert reached >= size
    assert reached <= max(size, most)


files = st.builds(
    File,
    st.just(False),
    sizes,
    st.none() | sizes,
    st.floats(0, GB),
    st.just(False),
    st.sampled_from(["C:\\", "D:\\", None]),
    st.none() | sizes,
)


@given(st.lists(files, min_size=1, max_size=5), st.floats(0, 1), st.sampled_from([None, 10.0 * GB]))
def test_shares_are_shares(data: list[File], used: float, limit: float | None) -> None:
    """Whatever the server says: 0 to 1, never negative."""
    found = space(data, used * sum(file.size for file in data), None, limit)
    for share in (found.size_share, found.free_share):
        assert share is None or 0 <= share <= 1
    assert found.free is None or found.free >= 0
