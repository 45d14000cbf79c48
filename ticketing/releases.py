"""The releases of the support policy: reading their files, and choosing the one that is in force."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path

from ticketing import policy_check
from ticketing.document import Fault, load
from ticketing.errors import PolicyError
from ticketing.policy import Release


def read_release(text: str) -> tuple[Release | None, list[Fault]]:
    """YAML text -> release, or everything that is wrong with it, in line order."""
    return load(text, Release, policy_check.faults)


@cache
def load_releases() -> tuple[Release, ...]:
    """The shipped releases, oldest first. Raises PolicyError."""
    shipped = (entry for entry in files("ticketing").joinpath("programme").iterdir())
    return in_order({e.name: e.read_text("utf-8") for e in shipped if e.name.endswith(".yaml")})


def load_directory(directory: Path) -> tuple[Release, ...]:
    """The releases in a directory of one's own, oldest first. Raises PolicyError."""
    return in_order({path.name: path.read_text("utf-8") for path in sorted(directory.glob("*.yaml"))})


def in_order(texts: dict[str, str]) -> tuple[Release, ...]:
    """File name -> text, read and ordered by validity. Raises PolicyError naming all faults of all files."""
    faults: list[str] = []
    releases: list[Release] = []
    for name, text in sorted(texts.items()):
        release, found = read_release(text)
        faults += [f"{name}: {fault}" for fault in found]
        releases += [release] if release is not None else []
    faults += _clashes(releases) if texts else ["there is no release of the support policy"]
    if faults:
        raise PolicyError("\n".join(faults))
    return tuple(sorted(releases, key=lambda r: r.valid_from))


def _clashes(releases: Sequence[Release]) -> Iterator[str]:
    for index, release in enumerate(releases):
        for other in releases[:index]:
            if release.release == other.release:
                yield f"two files call themselves release '{release.release}'"
            if release.valid_from == other.valid_from:
                yield f"{other.release} and {release.release} are both valid from {release.valid_from}"


def release_for(releases: Sequence[Release], on: date) -> Release:
    """The release in force on a day; before the earliest known one, the earliest."""
    in_force = [release for release in releases if release.valid_from <= on]
    if not in_force:
        return min(releases, key=lambda r: r.valid_from)
    return max(in_force, key=lambda r: r.valid_from)


def release_named(releases: Sequence[Release], name: str) -> Release:
    """The release of this name. Raises PolicyError."""
    for release in releases:
        if release.release == name:
            return release
    raise PolicyError(f"there is no release '{name}'; known are {', '.join(r.release for r in releases)}")
