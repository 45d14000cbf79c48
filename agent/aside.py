"""Spool files that are set aside: damaged ones, and those of another identity.

    spool.db.saving-<ms>       damaged; what can be read of it is not all in the new file yet
    spool.db.corrupt-<ms>      damaged; what could be read was saved
    spool.db.other-agent-<ms>  another host's, or another customer's

The name is all that says how far it came: renaming is one step, killed before or after it nothing is lost.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

SAVING, CORRUPT = "saving", "corrupt"
KEPT = 2
"""Files of a kind that are kept for a person to look at."""
_SIDES = ("-wal", "-shm")
"""What SQLite keeps beside a file."""


def set_aside(path: Path, why: str, now_ms: int) -> None:
    """Rename the spool's file and what SQLite keeps beside it."""
    _rename(path, path.with_name(f"{path.name}.{why}-{now_ms}"), ("", *_SIDES))
    if why != SAVING:
        _prune(path, why)


def half_saved(path: Path) -> list[Path]:
    """Damaged files whose batches are not all saved, the oldest first."""
    return _all(path, SAVING)


def finish(path: Path) -> None:
    """Killed in ``set_aside``: the log that is left belongs to the damaged file, not to the next one."""
    half = half_saved(path)
    if half and not path.exists():
        _rename(path, half[-1], _SIDES)


def saved(path: Path, damaged: Path) -> Path:
    """All that can be read of it is saved: its new name."""
    kept = damaged.with_name(damaged.name.replace(f".{SAVING}-", f".{CORRUPT}-"))
    _rename(damaged, kept, (*_SIDES, ""))
    _prune(path, CORRUPT)
    return kept


def _all(path: Path, why: str) -> list[Path]:
    return sorted(p for p in path.parent.glob(f"{path.name}.{why}-*") if not p.name.endswith(_SIDES))


def _prune(path: Path, why: str) -> None:
    for older in _all(path, why)[:-KEPT]:
        for side in ("", *_SIDES):
            older.with_name(older.name + side).unlink(missing_ok=True)


def _rename(one: Path, other: Path, sides: tuple[str, ...]) -> None:
    for side in sides:
        with suppress(FileNotFoundError):
            one.with_name(one.name + side).replace(other.with_name(other.name + side))
