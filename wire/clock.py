"""The one place where our processes read the clock.

Decisions never call this: they take ``now`` (aware UTC) as an argument. Composition passes
``utcnow`` to workers as ``Clock``, and a story in the tests passes a clock that it winds itself.
"""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utcnow() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)
