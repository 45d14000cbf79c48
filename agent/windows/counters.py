"""Performance counters: the port of agent/checks/iis.py over win32pdh.

Counters are named in English whatever Windows speaks (PdhAddEnglishCounter), for all instances at once. What
is not there (IIS is not installed, its service was stopped when we asked) is left out and asked for again
later: a query learns of new instances by itself, of new objects only when it is made anew.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"  # read by type checkers too

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import pywintypes
import win32pdh

_FORMAT = win32pdh.PDH_FMT_DOUBLE | win32pdh.PDH_FMT_NOCAP100
_LOOK_AGAIN = 4
"""Readings after which counters that were missing are asked for again: IIS may only be starting."""
_ABSENT = frozenset((0xC0000BB8, 0xC0000BB9, 0x800007D1, 0x800007D5))
"""No such object, counter; no instance; no data."""
_NOT_YET = frozenset((0xC0000BBA, 0xC0000BC6, 0x800007D5, 0x800007D1, 0x800007D6))
_DENIED = 0xC0000BDB


class SystemCounters:
    """The real ones. Each path is ``\\\\Object(*)\\\\Counter``."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = tuple(paths)
        self._query: Any = None
        self._handles: dict[str, Any] = {}
        self._readings = 0

    def read(self) -> Mapping[str, Mapping[str, float]]:
        """Path -> instance -> value; raises OSError."""
        self._readings += 1
        if len(self._handles) < len(self._paths) and self._readings % _LOOK_AGAIN == 1:
            self.close()
        try:
            if self._query is None:
                self._open()
            if not self._handles or not self._collect():
                return {}
            return {path: self._values(handle) for path, handle in self._handles.items()}
        except pywintypes.error as fault:
            self.close()
            raise OSError(_said(fault)) from None

    def close(self) -> None:
        """Also closes the counters."""
        query, self._query = self._query, None
        self._handles = {}
        if query is not None:
            with suppress(pywintypes.error):
                win32pdh.CloseQuery(query)

    def _open(self) -> None:
        self._query = win32pdh.OpenQuery()
        for path in self._paths:
            try:
                self._handles[path] = win32pdh.AddEnglishCounter(self._query, path)
            except pywintypes.error as fault:
                if _number(fault) not in _ABSENT:
                    raise

    def _collect(self) -> bool:
        """False when there is nothing to collect: no instance of any of them."""
        try:
            win32pdh.CollectQueryData(self._query)
        except pywintypes.error as fault:
            if _number(fault) not in _ABSENT:
                raise
            return False
        return True

    def _values(self, handle: Any) -> dict[str, float]:
        try:
            found = win32pdh.GetFormattedCounterArray(handle, _FORMAT)
        except pywintypes.error as fault:
            if _number(fault) not in _ABSENT | _NOT_YET:
                raise
            return {}
        return {str(name): float(value) for name, value in found.items()}


def _number(fault: pywintypes.error) -> int:
    """Windows' number; pywin32 gives it with a sign."""
    return int(fault.winerror) & 0xFFFFFFFF


def _said(fault: pywintypes.error) -> str:
    if _number(fault) == _DENIED:
        return (
            "performance counters may not be read:"
            " make the agent's account a member of Performance Monitor Users"
        )
    return f"performance counters: {fault.strerror} ({_number(fault):#x})"
