"""Which release this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def release() -> str:
    """The installed distribution's version; ``0+source`` when run from a tree that is not installed."""
    try:
        return version("ucx-proactive")
    except PackageNotFoundError:
        return "0+source"
