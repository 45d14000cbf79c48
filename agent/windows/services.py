"""Services as the service control manager knows them: what agent/checks/service.py needs to decide."""

from __future__ import annotations

import sys

assert sys.platform == "win32"  # read by type checkers too

import logging
import winreg
from functools import cache
from typing import Any

import pywintypes
import win32service

from agent.checks.service import WindowsService

log = logging.getLogger("ucx.services")

_NO_SUCH_SERVICE, _BAD_NAME, _ACCESS_DENIED = 1060, 123, 5
_ACCESS = win32service.SERVICE_QUERY_STATUS | win32service.SERVICE_QUERY_CONFIG
_KEY = r"SYSTEM\CurrentControlSet\Services"


def look(names: list[str]) -> dict[str, WindowsService]:
    """Those of the names that are installed; raises OSError."""
    found = {}
    try:
        manager: Any = win32service.OpenSCManager(None, None, win32service.SC_MANAGER_CONNECT)
        try:
            for name in names:
                if (one := _look(manager, name)) is not None:
                    found[name] = one
        finally:
            win32service.CloseServiceHandle(manager)
    except pywintypes.error as fault:
        raise OSError(f"service manager: {fault.strerror} ({fault.winerror})") from None
    return found


def installed() -> list[str]:
    """Names of all services; raises OSError."""
    try:
        manager: Any = win32service.OpenSCManager(
            None, None, win32service.SC_MANAGER_CONNECT | win32service.SC_MANAGER_ENUMERATE_SERVICE
        )
        try:
            enumerate_: Any = win32service.EnumServicesStatusEx  # its stub wants what has defaults
            return [str(one["ServiceName"]) for one in enumerate_(manager)]
        finally:
            win32service.CloseServiceHandle(manager)
    except pywintypes.error as fault:
        raise OSError(f"service manager: {fault.strerror} ({fault.winerror})") from None


def _look(manager: Any, name: str) -> WindowsService | None:
    try:
        service = win32service.OpenService(manager, name, _ACCESS)
    except pywintypes.error as fault:
        if fault.winerror == _ACCESS_DENIED:
            _say_once(name)
        elif fault.winerror not in (_NO_SUCH_SERVICE, _BAD_NAME):
            raise
        return None
    try:
        status: Any = win32service.QueryServiceStatusEx(service)  # its stub says a tuple; it is a dictionary
        config = win32service.QueryServiceConfig(service)
        delayed = win32service.QueryServiceConfig2(
            service, win32service.SERVICE_CONFIG_DELAYED_AUTO_START_INFO
        )
    finally:
        win32service.CloseServiceHandle(service)
    return WindowsService(status["CurrentState"], config[1], bool(delayed), _is_triggered(name), config[8])


@cache
def _say_once(name: str) -> None:
    """One service that hides itself is not to cost the others their values."""
    log.warning("the service '%s' does not let its state be asked by this account", name)


def _is_triggered(name: str) -> bool:
    """It starts and ends by events; pywin32 has no call for that, the registry says it too."""
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, rf"{_KEY}\{name}\TriggerInfo") as key:
            return winreg.QueryInfoKey(key)[0] > 0
    except OSError:
        return False
