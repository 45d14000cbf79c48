"""A call that may never return, asked with a deadline.

The call runs in a daemon thread. Past the deadline the thread is left behind, and while it has not come back
nothing new is asked: so there is at most one thread per call, however long it hangs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Generic, TypeVar

T = TypeVar("T")


class TimedOut(OSError):
    """The call did not come back in time, now or earlier."""


class Deadline:
    """One end for several waits."""

    def __init__(self, seconds: float) -> None:
        self._end_s = monotonic() + seconds

    def seconds(self) -> float:
        """What is left; never negative."""
        return max(0.0, self._end_s - monotonic())


class Bounded(Generic[T]):
    """One call that is repeated."""

    def __init__(self, ask: Callable[[], T]) -> None:
        self._ask = ask
        self._thread: threading.Thread | None = None
        self._late = False
        """The thread belongs to an earlier question."""
        self._answer: T | None = None
        self._fault: BaseException | None = None

    def call(self, deadline_s: float) -> T:
        """The answer; raises TimedOut, or what the call raised."""
        self.start()
        return self.result(deadline_s)

    def start(self) -> None:
        """Begin, unless an earlier call has not come back yet; ``result`` must follow."""
        self._late = self._thread is not None and self._thread.is_alive()
        if self._late:
            return
        self._answer = self._fault = None
        self._thread = threading.Thread(target=self._run, name="ucx-bounded", daemon=True)
        self._thread.start()

    def result(self, deadline_s: float) -> T:
        """The answer to what was started; raises TimedOut, or what the call raised."""
        assert self._thread is not None
        if self._late:
            raise TimedOut("still waiting for an earlier answer")
        self._thread.join(deadline_s)
        if self._thread.is_alive():
            raise TimedOut(f"no answer within {deadline_s:g} s")
        fault, self._fault = self._fault, None  # its frames hold what the call held
        if fault is not None:
            raise fault
        return self._answer  # type: ignore[return-value]  # set, since there was no fault

    def _run(self) -> None:
        try:
            self._answer = self._ask()
        except BaseException as fault:
            self._fault = fault
