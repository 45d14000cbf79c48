"""Which port a named instance of SQL Server listens on, asked of the SQL Server Browser ([MC-SQLR] 2.2)."""

from __future__ import annotations

import socket

from agent.databases import Unreachable

PORT = 1434
_ASK = b"\x04"
_ANSWER = 0x05
_WAIT_S = 1.0
_TRIES = 2
_LARGEST = 1024
_DO = (
    "Start the service 'SQL Server Browser', or give the instance a fixed port (SQL Server Configuration"
    " Manager: TCP/IP, IP addresses, IPAll) and name it as `port` instead of `instance`."
)
_NO_TCP = "Switch on TCP/IP for the instance in the SQL Server Configuration Manager and restart its service."


def ask_port(host: str, instance: str, port: int = PORT) -> int:
    """The instance's TCP port; raises Unreachable."""
    for _ in range(_TRIES):
        try:
            return read_answer(_ask(host, instance, port), instance)
        except TimeoutError:
            continue
        except socket.gaierror as fault:
            raise Unreachable(
                f"{host} is not found: {fault.strerror}", "Correct `host`, or check DNS."
            ) from None
        except OSError as fault:
            if isinstance(fault, Unreachable):
                raise
            raise Unreachable(f"the SQL Server Browser of {host}: {fault.strerror or fault}", _DO) from None
    raise Unreachable(f"the SQL Server Browser of {host} does not answer", _DO)


def _ask(host: str, instance: str, port: int) -> bytes:
    family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as line:
        line.settimeout(_WAIT_S)
        line.connect(address)
        line.send(_ASK + instance.encode("ascii", "replace") + b"\0")
        return line.recv(3 + _LARGEST)


def read_answer(answer: bytes, instance: str) -> int:
    """The port in ``name;value;name;value;...;;``. Pure; raises Unreachable."""
    size = int.from_bytes(answer[1:3], "little")
    if len(answer) < 3 or answer[0] != _ANSWER or size != len(answer) - 3:
        raise Unreachable("what answers is no SQL Server Browser", _DO)
    words = answer[3:].decode("ascii", "replace").split(";")
    told = {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=False)}
    if told.get("instancename", "").lower() != instance.lower():
        raise Unreachable(f"the SQL Server Browser knows no instance '{instance}'", _DO)
    port = told.get("tcp", "")
    if not port.isdecimal() or not 0 < int(port) < 65_536:
        raise Unreachable(f"the instance '{instance}' does not listen on TCP", _NO_TCP)
    return int(port)
