"""Performance counters as win32pdh shows them."""

from __future__ import annotations

import re
from itertools import count

from tests.agent.windows.world import WinError, World

_DOUBLE, _LARGE, _LONG, _NOCAP = 0x200, 0x400, 0x100, 0x8000
_PATH = re.compile(r"\\([^\\()]+)(?:\(([^)]*)\))?\\([^\\]+)")
NO_OBJECT, NO_COUNTER, NO_DATA, INVALID_DATA, DENIED = (
    0xC0000BB8,
    0xC0000BB9,
    0x800007D5,
    0xC0000BBA,
    0xC0000BDB,
)


class Pdh:
    """``objects``: object -> counter -> instance -> raw value. Handles are plain numbers, as with pywin32."""

    def __init__(self, world: World) -> None:
        self.objects: dict[str, dict[str, dict[str, float]]] = {}
        self.denied = False
        self._numbers = count(1000)
        self._queries: dict[int, dict[str, dict[str, dict[str, float]]] | None] = {}
        self._counters: dict[int, tuple[int, str, str]] = {}
        names = (
            "OpenQuery",
            "CloseQuery",
            "AddEnglishCounter",
            "CollectQueryData",
            "GetFormattedCounterArray",
        )
        world.module(
            "win32pdh",
            PDH_FMT_DOUBLE=_DOUBLE,
            PDH_FMT_LARGE=_LARGE,
            PDH_FMT_LONG=_LONG,
            PDH_FMT_NOCAP100=_NOCAP,
            error=WinError,
            **{name: getattr(self, name) for name in names},
        )

    @property
    def open_queries(self) -> int:
        return len(self._queries)

    def set(self, path: str, **instances: float) -> None:
        """Raw values of a counter, for all its instances."""
        found = _PATH.fullmatch(path)
        assert found is not None
        self.objects.setdefault(found[1], {})[found[3]] = dict(instances)

    def OpenQuery(self, source: None = None, user: int = 0) -> int:
        query = next(self._numbers)
        self._queries[query] = None
        return query

    def CloseQuery(self, query: int) -> None:
        assert query in self._queries, "a closed query"
        del self._queries[query]
        self._counters = {h: c for h, c in self._counters.items() if c[0] != query}

    def AddEnglishCounter(self, query: int, path: str, user: int = 0) -> int:
        assert query in self._queries, "a closed query"
        found = _PATH.fullmatch(path)
        assert found is not None, f"no counter path: {path}"
        assert found[2] == "*", "all instances"
        if self.denied:
            raise _error(DENIED)
        if found[1] not in self.objects:
            raise _error(NO_OBJECT)
        if found[3] not in self.objects[found[1]]:
            raise _error(NO_COUNTER)
        handle = next(self._numbers)
        self._counters[handle] = (query, found[1], found[3])
        return handle

    def CollectQueryData(self, query: int) -> None:
        assert query in self._queries, "a closed query"
        wanted = {(o, c) for q, o, c in self._counters.values() if q == query}
        assert wanted, "PDH_NO_COUNTERS: nothing was added"
        if not any(self.objects.get(o, {}).get(c) for o, c in wanted):
            raise _error(NO_DATA)
        self._queries[query] = {o: {c: dict(i) for c, i in cs.items()} for o, cs in self.objects.items()}

    def GetFormattedCounterArray(self, handle: int, form: int) -> dict[str, float]:
        assert handle in self._counters, "a counter of a closed query"
        assert sum(bool(form & flag) for flag in (_DOUBLE, _LARGE, _LONG)) == 1, "one format"
        query, name, counter = self._counters[handle]
        collected = self._queries[query]
        assert collected is not None, "nothing was collected yet"
        values = collected.get(name, {}).get(counter)
        if not values:
            raise _error(INVALID_DATA)
        return {instance: float(value) for instance, value in values.items()}


def _error(number: int) -> WinError:
    """pywin32 gives such numbers with their sign."""
    return WinError(number - (1 << 32) if number >> 31 else number, "pdh", f"pdh {number:#x}")
