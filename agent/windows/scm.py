"""The service control manager: the port of service.py over win32service."""

from __future__ import annotations

import sys

assert sys.platform == "win32"  # read by type checkers too

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import pywintypes
import win32service

from agent.windows.service import Found, NotAllowed, NotInstalled, ServiceError, ServiceSpec

_T = TypeVar("_T")
_STATES = {1: "stopped", 2: "starting", 3: "stopping", 4: "running"}
_STARTS = {2: "automatic", 3: "manual", 4: "disabled"}
_ACCESS_DENIED, _NO_SUCH_SERVICE = 5, 1060
_BETWEEN_LOOKS_S = 0.25
_QUERY = win32service.SERVICE_QUERY_STATUS | win32service.SERVICE_QUERY_CONFIG
_DELETE = 0x00010000
_SAID = {
    1053: "it did not answer in time",
    1056: "it runs already",
    1058: "it is disabled",
    1062: "it does not run",
    1069: "its account may not log on as a service",
    1072: "it waits to be deleted: close the services console and every program that shows it",
    1073: "a service of this name exists already",
}


class SystemManager:
    """The real one."""

    def find(self, name: str) -> Found | None:
        try:
            with _opened(name, _QUERY) as service:
                return _found(service)
        except NotInstalled:
            return None

    def create(self, spec: ServiceSpec) -> None:
        with _manager(win32service.SC_MANAGER_CONNECT | win32service.SC_MANAGER_CREATE_SERVICE) as manager:
            service = _asked(
                lambda: win32service.CreateService(
                    manager,
                    spec.name,
                    spec.display,
                    win32service.SERVICE_ALL_ACCESS,
                    win32service.SERVICE_WIN32_OWN_PROCESS,
                    win32service.SERVICE_AUTO_START,
                    win32service.SERVICE_ERROR_NORMAL,
                    spec.command,
                    None,
                    False,
                    None,
                    spec.account,
                    None,
                )
            )
            with _closing(service):
                _refine(service, spec)

    def change(self, spec: ServiceSpec) -> None:
        wanted = _QUERY | win32service.SERVICE_CHANGE_CONFIG | win32service.SERVICE_START
        with _opened(spec.name, wanted) as service:
            _asked(
                lambda: win32service.ChangeServiceConfig(
                    service,
                    win32service.SERVICE_NO_CHANGE,
                    win32service.SERVICE_AUTO_START,
                    win32service.SERVICE_NO_CHANGE,
                    spec.command,
                    None,
                    False,
                    None,
                    spec.account,
                    None,
                    spec.display,
                )
            )
            _refine(service, spec)

    def start(self, name: str) -> None:
        with _opened(name, win32service.SERVICE_START) as service:
            _asked(lambda: win32service.StartService(service, None))

    def control(self, name: str, code: int) -> None:
        right = win32service.SERVICE_STOP if code == 1 else win32service.SERVICE_PAUSE_CONTINUE
        with _opened(name, right) as service:
            _asked(lambda: win32service.ControlService(service, code))

    def delete(self, name: str) -> None:
        with _opened(name, _DELETE) as service:
            _asked(lambda: win32service.DeleteService(service))

    def wait(self, name: str, state: str, seconds: float) -> bool:
        """Also ends, with False, when the service stops instead of starting."""
        end = time.monotonic() + seconds
        while (found := self.find(name)) is not None and found.state != state:
            if time.monotonic() > end or (state == "running" and found.state == "stopped"):
                return False
            time.sleep(_BETWEEN_LOOKS_S)
        return found is not None


def _found(service: Any) -> Found:
    status = _asked(lambda: win32service.QueryServiceStatusEx(service))
    config = _asked(lambda: win32service.QueryServiceConfig(service))
    delayed = _asked(
        lambda: win32service.QueryServiceConfig2(service, win32service.SERVICE_CONFIG_DELAYED_AUTO_START_INFO)
    )
    said: Any = status  # its stub says a tuple; it is a dictionary
    return Found(
        _STATES.get(said["CurrentState"], "paused"),
        "delayed" if delayed and config[1] == 2 else _STARTS.get(config[1], "at boot"),
        config[3],
        config[7],
        said["ProcessId"],
        said["ServiceSpecificExitCode"] or said["Win32ExitCode"],
    )


def _refine(service: Any, spec: ServiceSpec) -> None:
    """What CreateService cannot say: delayed start, recovery, time to end, privileges."""
    restart = win32service.SC_ACTION_RESTART
    recovery = {
        "ResetPeriod": spec.forget_failures_after_s,
        "RebootMsg": None,
        "Command": None,
        "Actions": tuple((restart, after_s * 1000) for after_s in spec.restart_after_s),
    }
    for level, value in (
        (win32service.SERVICE_CONFIG_DESCRIPTION, spec.description),
        (win32service.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, True),
        (win32service.SERVICE_CONFIG_FAILURE_ACTIONS, recovery),
        (win32service.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, True),
        (win32service.SERVICE_CONFIG_PRESHUTDOWN_INFO, spec.preshutdown_ms),
        (win32service.SERVICE_CONFIG_SERVICE_SID_INFO, win32service.SERVICE_SID_TYPE_UNRESTRICTED),
        (win32service.SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO, spec.privileges),
    ):
        _asked(partial(win32service.ChangeServiceConfig2, service, level, value))


@contextmanager
def _manager(access: int) -> Iterator[Any]:
    with _closing(_asked(lambda: win32service.OpenSCManager(None, None, access))) as manager:
        yield manager


@contextmanager
def _opened(name: str, access: int) -> Iterator[Any]:
    with _manager(win32service.SC_MANAGER_CONNECT) as manager:
        service = _asked(lambda: win32service.OpenService(manager, name, access))
        with _closing(service):
            yield service


@contextmanager
def _closing(handle: Any) -> Iterator[Any]:
    try:
        yield handle
    finally:
        win32service.CloseServiceHandle(handle)


def _asked(call: Callable[[], _T]) -> _T:
    """The call's answer; raises ServiceError."""
    try:
        return call()
    except pywintypes.error as fault:
        if fault.winerror == _NO_SUCH_SERVICE:
            raise NotInstalled from None
        if fault.winerror == _ACCESS_DENIED:
            raise NotAllowed from None
        said = _SAID.get(fault.winerror, fault.strerror)
        raise ServiceError(f"The service manager refuses: {said} ({fault.winerror}).") from None
