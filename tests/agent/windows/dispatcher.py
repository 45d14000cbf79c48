"""servicemanager and win32serviceutil: how pywin32 hosts a service, and what the manager accepts from it."""

from __future__ import annotations

import threading
import time
from typing import Any, NamedTuple

from tests.agent.windows.world import World

_LEGAL = {2: {2, 3, 4}, 4: {4, 3}, 3: {3}}
"""dwCurrentState -> states that may follow (1, stopped, is said by the framework alone)."""


class Status(NamedTuple):
    """SERVICE_STATUS."""

    kind: int
    state: int
    accepted: int
    win32_exit: int
    specific_exit: int
    checkpoint: int
    wait_hint_ms: int


class Dispatcher:
    """Starts the service's class as the C framework does; ``control`` plays the manager."""

    def __init__(self, world: World) -> None:
        self.said: list[Status] = []
        self.logged: list[str] = []
        self._class: Any = None
        self._handler: Any = None
        self._ready = threading.Event()
        self.instance: Any = None
        world.module(
            "servicemanager",
            Initialize=lambda *_: None,
            PrepareToHostSingle=self._prepare,
            StartServiceCtrlDispatcher=self._dispatch,
            RegisterServiceCtrlHandler=self._register,
            SetEventSourceName=lambda name, now=False: None,
            LogErrorMsg=self.logged.append,
        )
        dispatcher = self

        class ServiceFramework:
            def __init__(self, arguments: list[str]) -> None:
                self.ssh = dispatcher._register(arguments[0], self.ServiceCtrlHandlerEx, True)  # type: ignore[attr-defined]

        world.module("win32serviceutil", ServiceFramework=ServiceFramework)
        service = world.module("win32service", SERVICE_WIN32_OWN_PROCESS=0x10)
        service.SetServiceStatus = self._set_status  # type: ignore[attr-defined]

    # ---- the manager's side

    def control(self, code: int) -> None:
        """Send a control, as the manager does: only what the service accepts, from a thread of its own."""
        needs = {1: 0x1, 5: 0x4, 15: 0x100, 6: 0x8}.get(code, 0)
        assert self.said[-1].accepted & needs == needs, "the manager does not send what is not accepted"
        thread = threading.Thread(target=self._handler, args=(code, 0, None))
        thread.start()
        thread.join(10)
        assert not thread.is_alive(), "a control must be answered at once"

    def wait_for(self, state: int) -> None:
        end = time.monotonic() + 30
        while not self.said or self.said[-1].state != state:
            assert time.monotonic() < end, f"state {state} was not reached: {self.said}"
            time.sleep(0.01)

    # ---- pywin32's side

    def _prepare(self, found: Any) -> None:
        self._class = found

    def _register(self, name: str, handler: Any, extra: bool) -> int:
        assert extra is True
        self._handler = handler
        return 77

    def _set_status(self, handle: int, given: tuple[int, ...]) -> None:
        assert handle == 77
        assert isinstance(given, tuple)
        assert all(type(number) is int for number in given)
        status = Status(*given)
        before = self.said[-1]
        assert status.kind == 0x10
        assert before.state != 1, "a status after stopped"
        assert status.state in _LEGAL[before.state], f"{before.state} -> {status.state}"
        if status.state in (2, 3):
            assert status.wait_hint_ms > 0
            if status.state == before.state:
                assert status.checkpoint >= before.checkpoint
        else:
            assert status.checkpoint == 0
        self.said.append(status)

    def _dispatch(self) -> None:
        self.said.append(Status(0x10, 2, 0, 0, 0, 1, 5000))
        self.instance = self._class(["UCXAgent"])
        try:
            self.instance.SvcRun()
        except Exception:
            self.said.append(Status(0x10, 1, 0, 1066, 2, 0, 0))
        else:
            self.said.append(Status(0x10, 1, 0, 0, 0, 0, 0))
