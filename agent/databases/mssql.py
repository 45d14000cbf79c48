"""Microsoft SQL Server by TDS (driver: python-tds). One connection to ``master`` is kept and reopened.

``master``, because a database that is offline, suspect or single-user cannot be connected to, but its state
can be read there; because a connection to the watched database would hold up its own restore; and because a
listener then does not send a read-only session elsewhere. A database that closed itself (AUTO_CLOSE, usual
with Express) is not opened just to be measured.

Least-privilege login: the script in docs/agent.md. A right that is missing costs the values that need it, and
is named.
"""

from __future__ import annotations

import logging
import socket
import sys
from typing import Any

from agent.databases import (
    CONNECT_S,
    TOTAL_S,
    Blind,
    DatabaseRule,
    LoginRefused,
    State,
    Unreachable,
    no_driver,
    password_of,
)
from agent.databases.browser import ask_port
from agent.databases.mssql_look import Refused, look_into
from agent.databases.tds import Line, client_context

_SETTINGS = """
SET NOCOUNT ON; SET LOCK_TIMEOUT 1000; SET DEADLOCK_PRIORITY LOW;
SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED
"""
_LOGIN_REFUSED = {
    18456: "the login failed",
    18452: "the login comes from a domain that is not trusted",
    18470: "the login is disabled",
    18486: "the login is locked out",
    18487: "the login's password has expired",
    18488: "the login's password must be changed",
}
_LOGIN_DO = (
    "Check user and password_file (one line, nothing else); that the server allows SQL authentication (mixed"
    " mode); that the login is enabled, not locked, and its password has not expired. The server's error log"
    " names the reason."
)
_BUSY = frozenset({1205, 1222})
_UPDATE = "Update ucx-proactive and python-tds; see whether `port` is that of a SQL Server."
_NO_TCP = (
    "Start the service; switch on TCP/IP for it in the SQL Server Configuration Manager (Express comes with"
    " it switched off) and restart it; check port, or name its `instance`; open the firewall."
)


class MssqlDatabase:
    """The watched database and the connection that is kept."""

    def __init__(self, rule: DatabaseRule) -> None:
        self._rule = rule
        self._line: Line | None = None
        self._session: Any = None

    def __del__(self) -> None:
        """A check is dropped when the configuration changes: its connection goes with it."""
        self.close()

    def look(self) -> State:
        """One look; raises Unreachable or Blind. A connection on which anything went wrong is given up."""
        try:
            return self._looked()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Without ceremony: the server notices."""
        line, self._line, self._session = self._line, None, None
        if line is not None:
            line.close()

    def _looked(self) -> State:
        kept = self._line is not None
        try:
            return self._on_connection()
        except Unreachable:
            if not kept:
                raise
        self.close()  # what was kept may have died since: the server restarted
        return self._on_connection()

    def _on_connection(self) -> State:
        if self._line is None:
            self._open()
        assert self._line is not None
        self._line.allow(TOTAL_S - CONNECT_S)
        try:
            return look_into(self._ask, self._rule)
        except Refused as refusal:
            raise _no_state(refusal) from None

    # ---- connecting

    def _open(self) -> None:
        try:
            import pytds
        except ImportError:
            raise no_driver("mssql") from None
        logging.getLogger("pytds").setLevel(logging.CRITICAL)  # what it has to say, we say
        rule = self._rule
        port = ask_port(rule.host, rule.instance) if rule.instance else rule.port
        self._line = _line(rule, port)
        self._line.allow(CONNECT_S)
        windows = not rule.user or "\\" in rule.user
        password = password_of(rule)
        try:
            self._session = pytds.connect(
                dsn=rule.host,
                port=port,
                database="master",
                user="" if windows else rule.user,
                password="" if windows else password,
                auth=_windows(rule, port, password) if windows else None,
                sock=self._line,
                login_timeout=0,  # one try; nor can a server send us elsewhere, where it would go on in clear
                autocommit=True,
                readonly=True,
                appname="ucx-agent",
                disable_connect_retry=True,
            )
            self._ask(_SETTINGS)
        except Exception as fault:
            raise _connect_fault(fault) from None

    # ---- asking

    def _ask(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """All rows; raises Refused when the server says no, Unreachable when it says nothing any more."""
        import pytds

        try:
            with self._session.cursor() as cursor:
                cursor.execute(statement, values or None)
                rows = cursor.fetchall() if cursor.description else []
        except (Unreachable, Blind):
            raise
        except pytds.DatabaseError as fault:
            raise Refused(_number(fault), _text(fault)) from None
        except Exception as fault:  # whatever a driver falls over when it reads what it did not expect
            raise Blind(f"the driver does not understand the server: {fault!r}", _UPDATE) from None
        return [tuple(row) for row in rows]


def _line(rule: DatabaseRule, port: int) -> Line:
    connection = _connected(rule.host, port)
    try:
        return Line(connection, rule.host, _context(rule), rule.certificate_sha256)
    except Blind:
        connection.close()
        raise


def _connected(host: str, port: int) -> socket.socket:
    try:
        return socket.create_connection((host, port), CONNECT_S)
    except socket.gaierror as fault:
        raise Unreachable(f"{host} is not found: {fault.strerror}", "Correct `host`, or check DNS.") from None
    except TimeoutError:
        raise Unreachable(f"{host}:{port} does not answer", _NO_TCP) from None
    except OSError as fault:
        raise Unreachable(f"{host}:{port}: {fault.strerror or fault}", _NO_TCP) from None


def _context(rule: DatabaseRule) -> Any:
    if rule.tls == "plain":
        return None
    return client_context(rule.ca_file, rule.certificate_sha256, verify=rule.tls == "trusted")


if sys.platform == "win32":

    def _windows(rule: DatabaseRule, port: int, password: str) -> Any:
        """Windows authentication: as ``DOMAIN\\user``, or as the agent's own account."""
        from pytds.login import SspiAuth

        return SspiAuth(user_name=rule.user, password=password, spn=f"MSSQLSvc/{rule.host}:{port}")

else:

    def _windows(rule: DatabaseRule, port: int, password: str) -> Any:
        """Windows authentication as ``DOMAIN\\user``. Raises Blind."""
        from pytds.login import SpnegoAuth

        if not rule.user:
            raise Blind("without `user` only an agent on Windows can log in", "Give user and password_file.")
        try:
            return SpnegoAuth(rule.user, password, hostname=rule.host, service="MSSQLSvc")
        except ImportError:
            raise Blind("Windows authentication needs pyspnego here", "pip install pyspnego") from None


def _connect_fault(fault: Exception) -> Exception:
    """What went wrong while connecting, in our words; the driver wraps what it gives up at."""
    cause = fault.__cause__ if isinstance(fault, TimeoutError) and fault.__cause__ else fault
    if isinstance(cause, Unreachable | Blind):
        return cause
    if isinstance(cause, BlockingIOError):
        return Blind("the server sends us to another one", "Name that one: a server itself, no listener.")
    number = _number(cause)
    if number in _LOGIN_REFUSED:
        return LoginRefused(f"{_LOGIN_REFUSED[number]} ({number}: {_text(cause)})", _LOGIN_DO)
    if number:
        return Unreachable(
            f"the server lets nobody in ({number}: {_text(cause)})", "Read the server's error log."
        )
    return Blind(f"the driver does not understand the server: {cause!r}", _UPDATE)


def _number(fault: BaseException) -> int:
    """The server's number of an error; 0 when the server did not say one."""
    return int(getattr(fault, "number", 0) or getattr(fault, "msg_no", 0) or 0)


def _text(fault: BaseException) -> str:
    """The server's words alone."""
    return str(fault.args[0]) if fault.args else repr(fault)


def _no_state(refusal: Refused) -> Unreachable | Blind:
    """The server answers the plainest question with an error: busy, or ill."""
    why = f"{refusal.number}: {refusal}"
    if refusal.number in _BUSY:
        return Blind(
            f"the server is busy ({why})", "Nothing, unless it lasts: then see what holds the locks."
        )
    return Unreachable(f"the server does not serve ({why})", "Read the server's error log.")
