"""The service control manager as win32service shows it."""

from __future__ import annotations

from typing import Any

from tests.agent.windows.world import Handle, WinError, World

CONSTANTS = {
    "SC_MANAGER_CONNECT": 0x1,
    "SC_MANAGER_CREATE_SERVICE": 0x2,
    "SC_MANAGER_ENUMERATE_SERVICE": 0x4,
    "SERVICE_QUERY_CONFIG": 0x1,
    "SERVICE_CHANGE_CONFIG": 0x2,
    "SERVICE_QUERY_STATUS": 0x4,
    "SERVICE_START": 0x10,
    "SERVICE_STOP": 0x20,
    "SERVICE_PAUSE_CONTINUE": 0x40,
    "SERVICE_ALL_ACCESS": 0xF01FF,
    "SERVICE_WIN32_OWN_PROCESS": 0x10,
    "SERVICE_WIN32": 0x30,
    "SERVICE_STATE_ALL": 0x3,
    "SERVICE_AUTO_START": 2,
    "SERVICE_DEMAND_START": 3,
    "SERVICE_DISABLED": 4,
    "SERVICE_ERROR_NORMAL": 1,
    "SERVICE_NO_CHANGE": 0xFFFFFFFF,
    "SC_ACTION_NONE": 0,
    "SC_ACTION_RESTART": 1,
    "SERVICE_CONFIG_DESCRIPTION": 1,
    "SERVICE_CONFIG_FAILURE_ACTIONS": 2,
    "SERVICE_CONFIG_DELAYED_AUTO_START_INFO": 3,
    "SERVICE_CONFIG_FAILURE_ACTIONS_FLAG": 4,
    "SERVICE_CONFIG_SERVICE_SID_INFO": 5,
    "SERVICE_CONFIG_REQUIRED_PRIVILEGES_INFO": 6,
    "SERVICE_CONFIG_PRESHUTDOWN_INFO": 7,
    "SERVICE_SID_TYPE_NONE": 0,
    "SERVICE_SID_TYPE_UNRESTRICTED": 1,
    "SERVICE_SID_TYPE_RESTRICTED": 3,
}
_DELETE = 0x10000
_STOP, _PARAMCHANGE = 1, 6
_STATUS_KEYS = (
    *("ServiceType", "CurrentState", "ControlsAccepted", "Win32ExitCode", "ServiceSpecificExitCode"),
    *("CheckPoint", "WaitHint", "ProcessId", "ServiceFlags"),
)


class Entry:
    """One installed service."""

    def __init__(self, command: str, account: str, start: int, display: str) -> None:
        self.command = command
        self.account = account
        self.start = start
        self.display = display
        self.more: dict[int, Any] = {}
        self.state = 1
        self.controls: list[int] = []
        self.starts_to = 4
        """State that a start ends in; 1 = it fails."""
        self.pending = 0
        """Looks at the status until a change is through."""
        self.exit_code = 0
        self.gone = False


class Scm:
    """The database of services; ``admin`` says who asks."""

    def __init__(self, world: World, *, admin: bool = True) -> None:
        self.world = world
        self.admin = admin
        self.entries: dict[str, Entry] = {}
        names = (
            *("OpenSCManager", "OpenService", "CloseServiceHandle", "CreateService", "ChangeServiceConfig"),
            *("ChangeServiceConfig2", "QueryServiceConfig", "QueryServiceConfig2", "QueryServiceStatusEx"),
            *("StartService", "ControlService", "DeleteService", "EnumServicesStatusEx"),
        )
        functions = {name: getattr(self, name) for name in names}
        world.module("win32service", error=WinError, **CONSTANTS, **functions)

    # ---- as the manager behaves

    def add(self, name: str, *, start: int = 2, state: int = 4, delayed: bool = False) -> Entry:
        entry = self.entries[name] = Entry("C:\\svc.exe", "LocalSystem", start, name)
        entry.state = state
        entry.more[3] = delayed
        return entry

    def _entry(self, handle: Handle, right: int) -> Entry:
        content = handle.use("service")
        assert content["access"] & right == right, "the handle was opened without this right"
        entry: Entry = content["entry"]
        return entry

    # ---- win32service

    def OpenSCManager(self, machine: str | None, database: str | None, access: int) -> Handle:
        assert machine is None
        assert database is None
        assert access & ~0xF003F == 0, "no such right of the manager"
        if access & 0x2 and not self.admin:
            raise WinError(5, "OpenSCManager", "Access is denied.")
        return Handle(self.world, "manager", access=access)

    def OpenService(self, manager: Handle, name: str, access: int) -> Handle:
        manager.use("manager")
        assert isinstance(name, str)
        assert "/" not in name
        assert "\\" not in name
        entry = self.entries.get(name) or next(
            (e for n, e in self.entries.items() if n.lower() == name.lower()), None
        )
        if entry is None:
            raise WinError(1060, "OpenService", "The specified service does not exist.")
        if access & (0x2 | 0x10 | 0x20 | 0x40 | _DELETE) and not self.admin:
            raise WinError(5, "OpenService", "Access is denied.")
        return Handle(self.world, "service", entry=entry, access=access)

    def CloseServiceHandle(self, handle: Handle) -> None:
        handle.Close()

    def CreateService(
        self,
        manager: Handle,
        name: str,
        display: str,
        access: int,
        kind: int,
        start: int,
        errors: int,
        command: str,
        group: str | None,
        tag: bool,
        needs: list[str] | None,
        account: str | None,
        password: str | None,
    ) -> Handle:
        assert manager.use("manager")["access"] & 0x2, "SC_MANAGER_CREATE_SERVICE is needed"
        assert kind == 0x10
        assert start in (2, 3, 4)
        assert errors in (0, 1, 2, 3)
        assert len(name) <= 256
        assert len(display) <= 256
        assert command.startswith('"') or " " not in command.split(".exe")[0], "an unquoted path with spaces"
        assert account is None or not account.startswith("NT SERVICE") or password is None
        if name in self.entries:
            raise WinError(1073, "CreateService", "The specified service already exists.")
        entry = self.entries[name] = Entry(command, account or "LocalSystem", start, display)
        return Handle(self.world, "service", entry=entry, access=access)

    def ChangeServiceConfig(
        self,
        service: Handle,
        kind: int,
        start: int,
        errors: int,
        command: str | None,
        group: str | None,
        tag: bool,
        needs: list[str] | None,
        account: str | None,
        password: str | None,
        display: str | None,
    ) -> None:
        entry = self._entry(service, 0x2)
        assert kind in (0x10, 0xFFFFFFFF)
        assert errors in (0, 1, 2, 3, 0xFFFFFFFF)
        entry.command = command or entry.command
        entry.start = entry.start if start == 0xFFFFFFFF else start
        entry.account = account or entry.account
        entry.display = display or entry.display

    def ChangeServiceConfig2(self, service: Handle, level: int, info: Any) -> None:
        entry = self._entry(service, 0x2)
        if level == 1:
            assert isinstance(info, str)
        elif level == 2:
            assert isinstance(info, dict)
            assert set(info) == {"ResetPeriod", "RebootMsg", "Command", "Actions"}
            assert isinstance(info["ResetPeriod"], int)
            restarts = False
            for action in info["Actions"]:
                assert isinstance(action, tuple)
                kind, delay_ms = action
                assert kind in (0, 1, 2, 3)
                assert isinstance(delay_ms, int)
                assert 0 <= delay_ms < 2**31
                restarts = restarts or kind == 1
            assert not restarts or service.content["access"] & 0x10, "restarting needs SERVICE_START"
        elif level in (3, 4):
            assert isinstance(info, bool)
            assert level != 3 or entry.start == 2 or not info, "only automatic services start delayed"
        elif level == 5:
            assert info in (0, 1, 3)
        elif level == 6:
            assert all(isinstance(name, str) and name.startswith("Se") for name in info)
        elif level == 7:
            assert isinstance(info, int)
            assert info > 0
        else:
            raise ValueError(f"Info type {level} is not supported")
        entry.more[level] = info

    def QueryServiceConfig(self, service: Handle) -> tuple[Any, ...]:
        e = self._entry(service, 0x1)
        return (0x10, e.start, 1, e.command, "", 0, [], e.account, e.display)

    def QueryServiceConfig2(self, service: Handle, level: int) -> Any:
        assert level in range(1, 8)
        return self._entry(service, 0x1).more.get(level, False if level in (3, 4) else None)

    def QueryServiceStatusEx(self, service: Handle) -> dict[str, int]:
        entry = self._entry(service, 0x4)
        if entry.pending:
            entry.pending -= 1
        elif entry.state == 2:
            entry.state = entry.starts_to
        elif entry.state == 3:
            entry.state = 1
        specific = 1066 if entry.exit_code else 0
        running = 4242 if entry.state != 1 else 0
        values = (
            0x10,
            entry.state,
            1 if entry.state == 4 else 0,
            specific,
            entry.exit_code,
            0,
            0,
            running,
            0,
        )
        return dict(zip(_STATUS_KEYS, values, strict=True))

    def StartService(self, service: Handle, arguments: list[str] | None) -> None:
        entry = self._entry(service, 0x10)
        assert arguments is None or all(isinstance(a, str) for a in arguments)
        if entry.state != 1:
            raise WinError(1056, "StartService", "An instance of the service is already running.")
        if entry.start == 4:
            raise WinError(1058, "StartService", "The service cannot be started.")
        entry.state, entry.pending = 2, 1

    def ControlService(self, service: Handle, code: int) -> tuple[int, ...]:
        entry = self._entry(service, 0x20 if code == _STOP else 0x40)
        assert code in (_STOP, _PARAMCHANGE), "only these may be sent by a program"
        if entry.state != 4:
            raise WinError(1062, "ControlService", "The service has not been started.")
        entry.controls.append(code)
        if code == _STOP:
            entry.state, entry.pending = 3, 1
        return (0x10, entry.state, 0, 0, 0, 0, 0)

    def DeleteService(self, service: Handle) -> None:
        entry = self._entry(service, _DELETE)
        for name, known in list(self.entries.items()):
            if known is entry:
                del self.entries[name]

    def EnumServicesStatusEx(self, manager: Handle) -> list[dict[str, Any]]:
        assert manager.use("manager")["access"] & 0x4, "SC_MANAGER_ENUMERATE_SERVICE is needed"
        return [{"ServiceName": name, "CurrentState": e.state} for name, e in self.entries.items()]
