"""How full a SQL Server database is: pure arithmetic on its files.

A file that may grow is not full when its present size is used up: it ends at its own limit, at the edition's,
or where its volume does, whichever comes first; and it grows in steps, a last part of which may not fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from agent.checks import share

PAGE = 8192
_GB = 1 << 30
_ROWS, _LOG = 0, 1
_UNLIMITED_LOG = 268_435_456
"""Pages (2 TB): what ``max_size`` says of a log without a limit."""
_STEPS = 10_000


class File(NamedTuple):
    """One row of sys.master_files with its volume; sizes in bytes."""

    is_log: bool
    size: float
    most: float | None
    """Its own limit; None = none. Equal to ``size`` when it does not grow."""
    step: float
    """How much it grows at a time; a share (0..1) of its size when ``by_share``."""
    by_share: bool
    volume: str | None
    """Where it stands; None = not known."""
    available: float | None
    """Bytes free on that volume."""

    @classmethod
    def of_row(cls, row: Sequence[Any]) -> File:
        """From type, size, max_size (pages), growth (pages or per cent), is_percent_growth, volume, bytes."""
        kind, size, most, growth, by_share, volume, available = row
        step = growth / 100 if by_share else growth * PAGE
        limit = _limit(size, most, growth, kind)
        return cls(kind == _LOG, size * PAGE, limit, step, bool(by_share), volume, _float(available))


class Space(NamedTuple):
    """The fields of a State that say how full it is; None = not known."""

    size: float | None = None
    size_share: float | None = None
    free: float | None = None
    free_share: float | None = None
    log_size: float | None = None
    log_share: float | None = None


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _limit(size: int, most: int, growth: int, kind: int) -> float | None:
    if growth == 0 or most == 0:
        return size * PAGE
    if most < 0 or (kind == _LOG and most >= _UNLIMITED_LOG):
        return None
    return max(size, most) * PAGE


def express_limit(version: str) -> int:
    """Bytes of data that Express lets a database have; ``version`` as in ProductVersion (``15.0.2000.5``)."""
    numbers = [int(part) if part.isdecimal() else 0 for part in (*version.split("."), "0")[:2]]
    if numbers < [10, 50]:
        return 4 * _GB
    return 10 * _GB if numbers < [17, 0] else 50 * _GB


def grown(size: float, step: float, by_share: bool, most: float) -> float:
    """What a file of ``size`` becomes by whole steps without passing ``most``."""
    if step <= 0 or size >= most:
        return size
    if not by_share:
        return min(most, size + (most - size) // step * step)
    for _ in range(_STEPS):
        if size * (1 + step) > most:
            break
        size *= 1 + step
    return size


def capacity(files: Sequence[File]) -> float | None:
    """What the files can become together; None when one of them has no limit that is known. The room on a
    volume counts once for all the files on it."""
    room = {file.volume: file.available for file in files if file.volume and file.available is not None}
    total = 0.0
    for file in files:
        left = room.get(file.volume or "")
        ends = [end for end in (file.most, None if left is None else file.size + left) if end is not None]
        if not ends:
            return None
        end = max(file.size, min(ends))
        if left is not None and file.volume:
            room[file.volume] = left - (end - file.size)
        total += end
    return total if files else None


def within_edition(files: Sequence[File], limit: float) -> float:
    """What the data files can become by their limits and steps within an edition's limit; volumes apart."""
    total = sum(file.size for file in files)
    best = total
    for file in files:  # in the best case all that is left goes to one file, whose steps fit best
        most = file.size + max(0.0, limit - total)
        reach = grown(
            file.size, file.step, file.by_share, min(most, file.most if file.most is not None else most)
        )
        best = max(best, total - file.size + reach)
    return min(best, limit) if total <= limit else limit


def space(files: Sequence[File], used: float | None, log_used: float | None, limit: float | None) -> Space:
    """How full: ``used`` bytes of data, ``log_used`` of log; ``limit`` is the edition's, None = none."""
    data = [file for file in files if not file.is_log]
    log = [file for file in files if file.is_log]
    if not data:
        return Space()
    size = sum(file.size for file in data)
    log_end = capacity(log) or sum(file.size for file in log)
    log_share = share(log_used, log_end)
    shares = _data(data, used, limit)
    return Space(size, *shares, sum(file.size for file in log), log_share)


def _data(
    data: Sequence[File], used: float | None, limit: float | None
) -> tuple[float | None, float | None, float | None]:
    """(share of the edition's limit, free, share free); the last only where there is no such limit."""
    if used is None:
        return None, None, None
    end = capacity(data)
    if limit is not None:
        most = within_edition(data, limit)
        left = most if end is None else min(end, most)
        return share(used, most), max(0.0, left - used), None
    if end is None:
        return None, None, None
    return None, max(0.0, end - used), share(max(0.0, end - used), end)
