"""Runs checks so that one that hangs delays nobody.

Usually one thread does all the work. When the job in hand has taken longer than ``STALL_S`` while others
wait, a second thread takes over the rest: a hung check costs the others that much, once. A hung check stays
busy until its call returns; while it is busy it is not started again. So there are never more threads than
checks, plus one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from agent.reading import Reading

STALL_S = 0.1
"""A job in hand for longer than this (seconds) no longer holds up the queue."""


class Job:
    """One run of one check; ``finished_s`` is set last."""

    __slots__ = ("check", "fault", "finished_s", "reading", "started_s", "work")

    def __init__(self, check: str, work: Callable[[float], Reading]) -> None:
        self.check = check
        self.work = work
        self.started_s: float | None = None
        self.finished_s: float | None = None
        self.reading: Reading | None = None
        self.fault: Exception | None = None

    def duration_s(self) -> float | None:
        """None while it runs."""
        if self.started_s is None or self.finished_s is None:
            return None
        return self.finished_s - self.started_s


class Runner:
    """Threads for checks. ``wake`` is called, from any thread, when a job has finished and none waits."""

    def __init__(self, wake: Callable[[], None], monotonic: Callable[[], float] = time.monotonic) -> None:
        self._wake = wake
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._queue: SimpleQueue[Job] = SimpleQueue()
        self._busy: dict[str, Job] = {}
        self._threads = 0

    def submit(self, check: str, work: Callable[[float], Reading]) -> Job | None:
        """Queue a check (called with the monotonic time of its start); None when its earlier run has not come
        back yet."""
        with self._lock:
            if check in self._busy:
                return None
            job = self._busy[check] = Job(check, work)
            self._queue.put(job)
            if self._threads == 0:
                self._start_thread()
            return job

    def tend(self, now_s: float) -> float | None:
        """Bring in another thread if all are stuck; seconds until this must be called again, None = not."""
        with self._lock:
            if self._queue.empty():
                return None
            stuck = sum(1 for job in self._busy.values() if _stuck(job, now_s))
            if stuck >= self._threads:
                self._start_thread()
            return STALL_S

    @property
    def threads(self) -> int:
        """Threads alive now."""
        return self._threads

    def _start_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._work, name="ucx-check", daemon=True).start()

    def _work(self) -> None:
        while (job := self._take()) is not None:
            job.started_s = self._monotonic()
            try:
                job.reading = job.work(job.started_s)
            except Exception as fault:
                job.fault = fault
            self._finish(job)

    def _take(self) -> Job | None:
        """The next job; a thread that is one too many gets None and ends."""
        while True:
            if self._threads == 1:
                return self._queue.get()
            with self._lock:
                try:
                    return self._queue.get_nowait()
                except Empty:
                    if self._threads > 1:
                        self._threads -= 1
                        return None

    def _finish(self, job: Job) -> None:
        with self._lock:
            del self._busy[job.check]
            job.finished_s = self._monotonic()
        if self._queue.empty():
            self._wake()


def _stuck(job: Job, now_s: float) -> bool:
    return job.started_s is not None and now_s - job.started_s > STALL_S
