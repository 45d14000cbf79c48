"""The fake SQL Server is one: by the protocol's own examples, and to a second client, pymssql (FreeTDS)."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pymssql
import pytds
import pytest

from tests.agent.tds import tokens
from tests.agent.tds.kit import Site, opened
from tests.agent.tds.model import Model
from tests.agent.tds.server import FakeSqlServer, Refusal
from tests.agent.tds.tokens import Column, Result
from tests.agent.tds.wire import (
    HEADER,
    Encryption,
    Kind,
    Malformed,
    agree,
    hide,
    packets,
    read_batch,
    read_login,
    read_prelogin,
    reveal,
    write_prelogin,
)

PRELOGIN_REQUEST = bytes.fromhex(
    "1201002F0000010000001A00060100200001020021000103002200040400260001FF090000000000010 0B80D000001".replace(
        " ", ""
    )
)
"""[MS-TDS] 4.1."""
LOGIN_REQUEST = bytes.fromhex(
    "10010090000001008800000002000972001000000000000700010000000000 00E003000000000000090400005E000800"
    "6E0002007200000072000700800000008000000080000400880000008800000000508BE2B78F8800000088000000"
    "880000000000000073006B006F00730074006F0076003100730061004F00530051004C002D00330032004F0044004200"
    "4300".replace(" ", "")
)
"""[MS-TDS] 4.2."""
BATCH_REQUEST = bytes.fromhex(
    "0101005C00000100160000001200000002000000000000000001000000000A00730065006C006500630074002000"
    "270066006F006F0027002000610073002000270062006100720027000A0020002000200020002000200020002000"
)
"""[MS-TDS] 4.6."""
BATCH_RESPONSE = bytes.fromhex(
    "0401003300000100810100000000002000A703000904D00034036200610072 00D10300666F6FFD1000C1000100000000"
    "000000".replace(" ", "")
)
"""[MS-TDS] 4.7: select 'foo' as 'bar'."""
COUNT_RESPONSE = bytes.fromhex(
    "8101000000000000002604 00D10400000000FD1000C1000100000000000000".replace(" ", "")
)
"""What a server was recorded to answer to SELECT COUNT(*) of an empty table."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with opened(tmp_path) as site:
        yield site


# ---- the protocol's own examples ----------------------------------------------------------------------


def test_the_examples_of_the_protocol_are_read_as_they_are_explained() -> None:
    """PRELOGIN: version 9, no encryption, MARS. LOGIN7: host, user, program and library. Batch: its text."""
    options = read_prelogin(PRELOGIN_REQUEST[8:])
    assert options[0] == bytes([9, 0, 0, 0, 0, 0])
    assert (options[1], options[2], options[4]) == (b"\1", b"\0", b"\1")
    assert packets(Kind.PRELOGIN, write_prelogin(options))[8:] == PRELOGIN_REQUEST[8:]
    login = read_login(LOGIN_REQUEST[8:])
    assert (login.host, login.user, login.password) == ("skostov1", "sa", "")
    assert (login.app, login.library, login.packet_size) == ("OSQL-32", "ODBC", 4096)
    assert read_batch(BATCH_REQUEST[8:]) == "\nselect 'foo' as 'bar'\n        "


def test_answers_are_the_examples_byte_by_byte() -> None:
    """Rows of text and of a number."""
    columns = [Column("bar", "varchar3")]
    body = tokens.metadata(columns, 0x0020) + tokens.row(columns, ["foo"]) + tokens.done(rows=1)
    assert packets(Kind.REPLY, body)[8:] == BATCH_RESPONSE[8:]
    assert HEADER.unpack(packets(Kind.REPLY, body)[:8])[:3] == HEADER.unpack(BATCH_RESPONSE[:8])[:3]
    plain = [Column("", "int")]
    assert tokens.metadata(plain, 0) + tokens.row(plain, [0]) + tokens.done(rows=1) == COUNT_RESPONSE


def test_a_password_is_hidden_as_described() -> None:
    """Nibbles swapped, then XOR A5: 'a' (61 00) becomes B3 A5."""
    assert hide("a") == b"\xb3\xa5"
    assert reveal(hide("pässwörd €")) == "pässwörd €"


def test_the_table_of_encryption() -> None:
    """All nine meetings of 2.2.6.5."""
    off, on, none, required = Encryption
    told = {client: [agree(client, server) for server in (none, off, on)] for client in (off, on, none)}
    assert told == {off: [none, off, required], on: [none, on, on], none: [none, none, required]}


@pytest.mark.parametrize("at", range(8, len(LOGIN_REQUEST), 7))
def test_a_login_with_a_byte_too_few_is_refused(at: int) -> None:
    """Wherever it is missing."""
    with pytest.raises((Malformed, IndexError, ValueError)):
        read_login((LOGIN_REQUEST[:at] + LOGIN_REQUEST[at + 1 :])[8:])


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"\xff", "VERSION must be"),
        (write_prelogin({1: b"\0", 0: bytes(6)}), "VERSION must be"),
        (write_prelogin({0: bytes(5)}), "has 5 bytes"),
        (write_prelogin({0: bytes(6), 1: b"\7"}), "0 to 3"),
        (write_prelogin({0: bytes(6), 2: b"x"}), "end with a zero"),
        (write_prelogin({0: bytes(6)}) + b"!", "longer than its options"),
        (b"\0\0\6\0\6", "without an end"),
        (b"\0\0\7\0\6\xff" + bytes(7), "stands elsewhere"),
    ],
    ids=["empty", "order", "size", "value", "instance", "rest", "endless", "offset"],
)
def test_a_wrong_prelogin_is_refused(body: bytes, fault: str) -> None:
    """Each with its reason."""
    with pytest.raises(Malformed, match=fault):
        read_prelogin(body)


def test_a_client_that_breaks_the_protocol_is_thrown_out_loudly(site: Site) -> None:
    """A batch before the login; a reply from a client; a batch without ALL_HEADERS in other words."""
    server = site.server(encryption=Encryption.NOT_SUPPORTED)
    for data in (packets(Kind.BATCH, b"x"), packets(Kind.REPLY, b""), b"GET / HTTP/1.0\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), 5) as line:
            line.settimeout(10)
            line.sendall(data)
            assert line.recv(10) == b""
    assert len(server.faults) == 3
    with pytest.raises(Malformed, match="ALL_HEADERS"):
        read_batch("select 1".encode("utf-16-le"))


# ---- a second client ----------------------------------------------------------------------------------


def connect(server: FakeSqlServer, encryption: str = "require", **more: Any) -> Any:
    settings: dict[str, Any] = {
        "server": "127.0.0.1",
        "port": str(server.port),
        "user": "ucx_agent",
    }
    settings |= {
        "password": "secret",
        "database": "master",
        "tds_version": "7.4",
        "login_timeout": 60,
        "timeout": 60,
    }
    return pymssql.connect(**(settings | {"encryption": encryption, "autocommit": True} | more))


EVERY_TYPE = Result(
    [
        Column("a", "int"),
        Column("b", "bigint"),
        Column("c", "decimal"),
        Column("d", "nvarchar"),
        Column("e", "datetime"),
        Column("f", "bit"),
        Column("g", "float"),
        Column("h", "tinyint"),
    ],
    [
        (1, -(2**62), Decimal("-1234.56"), "Grüße €", datetime(2026, 11, 23, 6, 0, 1), True, 1.5, 200),  # noqa: DTZ001
        (None, None, None, None, None, None, None, None),
        (-5, 7, Decimal("0.01"), "", datetime(1900, 1, 1), False, -0.25, 0),  # noqa: DTZ001
    ],
)


@pytest.mark.parametrize(
    ("client", "mode"),
    [("require", "ON"), ("request", "ON"), ("request", "OFF"), ("off", "NOT_SUPPORTED")],
)
def test_pymssql_logs_in_and_reads_every_type(site: Site, client: str, mode: str) -> None:
    """The whole session encrypted, the login alone, nothing; the login as typed in; NULLs in every type."""
    server = site.server(
        lambda statement, _: EVERY_TYPE if "every" in statement else None, encryption=Encryption[mode]
    )
    with connect(server, client, appname="cross-check") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT every")
        assert cursor.fetchall() == list(EVERY_TYPE.rows)
    assert server.faults == []
    [login] = server.logins
    assert (login.user, login.password, login.app) == ("ucx_agent", "secret", "cross-check")


def test_pymssql_understands_refusals(site: Site) -> None:
    """A wrong password; a missing right, after which the connection still serves; many small packets."""
    server = site.server(
        Model(refuse={"backupset": Refusal(229, "The SELECT permission was denied.")}), split=512
    )
    with pytest.raises(pymssql.OperationalError, match="18456"):
        connect(server, password="wrong")
    with connect(server) as connection, connection.cursor() as cursor:
        with pytest.raises(pymssql.DatabaseError, match="229"):
            cursor.execute("SELECT b.type FROM msdb.dbo.backupset AS b")
        cursor.execute("SELECT d.name FROM sys.databases AS d ORDER BY d.name")
        assert cursor.fetchall() == [("calls",), ("master",)]
    assert server.faults == []


MANY = Result([Column("n", "int")], [(n,) for n in range(5000)])


def test_an_answer_that_is_not_wanted_any_more_is_cancelled_by_attention(site: Site) -> None:
    """By our driver and by pymssql: the fake acknowledges, and the connection serves on."""
    server = site.server(lambda statement, _: MANY if "many" in statement else None)
    plain = site.server(lambda statement, _: MANY, encryption=Encryption.NOT_SUPPORTED)
    settings: dict[str, Any] = {"dsn": "127.0.0.1", "user": "ucx_agent", "password": "secret"}
    ours = pytds.connect(**settings, port=plain.port, database="master", autocommit=True)
    for connection, asked in ((connect(server), server), (ours, plain)):
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT many")
            assert cursor.fetchone() == (0,)
            cursor.execute("SELECT many")
            assert len(cursor.fetchall()) == 5000
        assert (asked.attentions, asked.faults) == (1, [])
