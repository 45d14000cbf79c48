"""What a client of SQL Server sends, read strictly as [MS-TDS] has it: all that is not so is refused."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

HEADER = struct.Struct(">BBHHBB")
"""Type, status, length with header, SPID, packet number, window."""
LARGEST_BEFORE_LOGIN = 4096
TDS_74 = 0x74000004


class Kind(IntEnum):
    """Types of packets (2.2.3.1.1)."""

    BATCH = 0x01
    RPC = 0x03
    REPLY = 0x04
    ATTENTION = 0x06
    TRANSACTION = 0x0E
    LOGIN = 0x10
    SSPI = 0x11
    PRELOGIN = 0x12


class Encryption(IntEnum):
    """Of PRELOGIN (2.2.6.5)."""

    OFF = 0
    ON = 1
    NOT_SUPPORTED = 2
    REQUIRED = 3


class Malformed(Exception):
    """The client breaks the protocol."""


def want(true: bool, what: str) -> None:
    if not true:
        raise Malformed(what)


def packets(kind: Kind, body: bytes, size: int = 4096) -> bytes:
    """A message as packets of at most ``size`` bytes; the last one says so."""
    room = size - HEADER.size
    parts = [body[at : at + room] for at in range(0, len(body), room)] or [b""]
    out = b""
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        out += HEADER.pack(kind, int(last), HEADER.size + len(part), 0x0033, (index + 1) % 256, 0) + part
    return out


# ---- PRELOGIN -----------------------------------------------------------------------------------------

VERSION, ENCRYPTION, INSTANCE, THREAD, MARS, TRACE, FEDERATED, NONCE = range(8)
_SIZES = {VERSION: 6, ENCRYPTION: 1, MARS: 1, TRACE: 36, FEDERATED: 1, NONCE: 32}


def read_prelogin(body: bytes) -> dict[int, bytes]:
    """Options by number; VERSION comes first, the data stand in order and fill the message."""
    entries, at = [], 0
    while True:
        want(at < len(body), "PRELOGIN without an end of its options")
        if body[at] == 0xFF:
            break
        want(at + 5 <= len(body), "a PRELOGIN option is cut off")
        entries.append(struct.unpack_from(">BHH", body, at))
        at += 5
    want(bool(entries) and entries[0][0] == VERSION, "VERSION must be PRELOGIN's first option")
    want(len({entry[0] for entry in entries}) == len(entries), "a PRELOGIN option stands there twice")
    end, options = at + 1, {}
    for number, offset, length in entries:
        want(number <= NONCE, f"PRELOGIN option {number}")
        want(offset == end and offset + length <= len(body), f"PRELOGIN option {number} stands elsewhere")
        want(_SIZES.get(number, length) == length, f"PRELOGIN option {number} has {length} bytes")
        options[number] = body[offset : offset + length]
        end = offset + length
    want(end == len(body), "PRELOGIN is longer than its options")
    want(options.get(INSTANCE, b"\0").endswith(b"\0"), "the instance's name must end with a zero")
    want(options.get(ENCRYPTION, b"\2")[0] <= 3, "ENCRYPTION is 0 to 3")
    return options


def write_prelogin(options: dict[int, bytes]) -> bytes:
    head, data = b"", b""
    start = 5 * len(options) + 1
    for number, value in options.items():
        head += struct.pack(">BHH", number, start + len(data), len(value))
        data += value
    return head + b"\xff" + data


def agree(client: Encryption, server: Encryption) -> Encryption:
    """What the server answers (the table of 2.2.6.5). ``server`` is OFF, ON or NOT_SUPPORTED."""
    if server is Encryption.NOT_SUPPORTED:
        return Encryption.NOT_SUPPORTED
    if client is Encryption.ON:
        return Encryption.ON
    if server is Encryption.ON:
        return Encryption.REQUIRED
    return Encryption.OFF if client is Encryption.OFF else Encryption.NOT_SUPPORTED


# ---- LOGIN7 -------------------------------------------------------------------------------------------

_FIXED = struct.Struct("<IIIIIIBBBBiI")
_FIXED_WHOLE = 94
_NAMES = ("host", "user", "password", "app", "server", "extension", "library", "language", "database")


@dataclass(frozen=True)
class Login:
    """A login packet."""

    version: int
    packet_size: int
    host: str
    user: str
    password: str
    app: str
    server: str
    library: str
    language: str
    database: str
    read_only: bool
    """TypeFlags.fReadOnlyIntent."""
    integrated: bool
    """OptionFlags2.fIntSecurity: Windows authentication."""
    sspi: bytes = b""
    features: dict[int, bytes] = field(default_factory=dict)


def hide(password: str) -> bytes:
    """As LOGIN7 carries it: nibbles swapped, then XOR A5 (2.2.6.4)."""
    return bytes(((b << 4 | b >> 4) & 0xFF) ^ 0xA5 for b in password.encode("utf-16-le"))


def reveal(hidden: bytes) -> str:
    plain = bytes(((b ^ 0xA5) << 4 | (b ^ 0xA5) >> 4) & 0xFF for b in hidden)
    return plain.decode("utf-16-le")


def read_login(body: bytes) -> Login:
    """A LOGIN7 message; every byte of it must belong to something."""
    want(len(body) >= _FIXED_WHOLE, "LOGIN7 is too short")
    length, version, packet_size, _, _, _, _, flags2, kind, flags3, _, _ = _FIXED.unpack_from(body)
    want(length == len(body), f"LOGIN7 says {length} bytes and has {len(body)}")
    want(version >> 24 == 0x74 or version in (0x72090002, 0x730A0003, 0x730B0003), f"version {version:x}")
    want(packet_size == 0 or 512 <= packet_size <= 32_767, f"packet size {packet_size}")
    places = [struct.unpack_from("<HH", body, 36 + 4 * index) for index in range(9)]
    client, sspi = body[72:78], struct.unpack_from("<HH", body, 78)
    file, change = struct.unpack_from("<HH", body, 82), struct.unpack_from("<HH", body, 86)
    want(len(client) == 6, "ClientID")
    want(struct.unpack_from("<I", body, 90)[0] == 0 or sspi[1] == 0xFFFF, "cbSSPILong")
    extended = bool(flags3 & 0x10)
    want(extended or places[5][1] == 0, "an extension without its flag")
    spans = {name: (at, 2 * size) for name, (at, size) in zip(_NAMES, places, strict=True)}
    spans["extension"] = (places[5][0], places[5][1])
    spans |= {"sspi": sspi, "file": (file[0], 2 * file[1]), "change": (change[0], 2 * change[1])}
    features, span = _features(body, spans["extension"]) if extended else ({}, (0, 0))
    _cover([*spans.values(), span], len(body))
    texts = {
        name: body[at : at + size].decode("utf-16-le")
        for name, (at, size) in spans.items()
        if name in _NAMES and name not in ("password", "extension")
    }
    password = reveal(_slice(body, spans["password"]))
    want(not (flags2 & 0x80 and (texts["user"] or password)), "a password beside Windows authentication")
    return Login(
        version,
        packet_size,
        password=password,
        read_only=bool(kind & 0x20),
        integrated=bool(flags2 & 0x80),
        sspi=_slice(body, spans["sspi"]),
        features=features,
        **texts,
    )


def _slice(body: bytes, span: tuple[int, int]) -> bytes:
    return body[span[0] : span[0] + span[1]]


def _cover(spans: list[tuple[int, int]], length: int) -> None:
    at = _FIXED_WHOLE
    for start, size in sorted(span for span in spans if span[1]):
        want(start == at, f"LOGIN7's data leave a gap or overlap at {at}")
        at = start + size
    want(at == length, f"LOGIN7 has {length - at} bytes that belong to nothing")


def _features(body: bytes, span: tuple[int, int]) -> tuple[dict[int, bytes], tuple[int, int]]:
    want(span[1] == 4, "the extension is an offset of four bytes")
    start = at = struct.unpack_from("<I", body, span[0])[0]
    features = {}
    while body[at] != 0xFF:
        number, size = struct.unpack_from("<BI", body, at)
        features[number] = body[at + 5 : at + 5 + size]
        at += 5 + size
    return features, (start, at + 1 - start)


# ---- requests -----------------------------------------------------------------------------------------


def _after_headers(body: bytes) -> int:
    """ALL_HEADERS (2.2.5.3): needed since TDS 7.2, with one transaction descriptor."""
    want(len(body) >= 4, "ALL_HEADERS is missing")
    total = struct.unpack_from("<I", body)[0]
    want(4 < total <= len(body), "ALL_HEADERS is cut off")
    at, kinds = 4, []
    while at < total:
        size, kind = struct.unpack_from("<IH", body, at)
        want(size >= 6 and at + size <= total, "a header is cut off")
        want(kind in (1, 2, 3), f"header of type {kind}")
        want(kind != 2 or size == 18, "the transaction descriptor has 18 bytes")
        kinds.append(kind)
        at += size
    want(kinds.count(2) == 1, "exactly one transaction descriptor")
    return int(total)


def read_batch(body: bytes) -> str:
    """The statement of a SQL batch."""
    return body[_after_headers(body) :].decode("utf-16-le")


def read_rpc(body: bytes) -> tuple[str, dict[str, object]]:
    """The statement of ``sp_executesql`` and its values by name; no other procedure is known here."""
    at = _after_headers(body)
    mark, number, flags = struct.unpack_from("<HHH", body, at)
    want((mark, number, flags) == (0xFFFF, 10, 0), f"procedure {mark:x} {number} with flags {flags}")
    at += 6
    values: list[tuple[str, object]] = []
    while at < len(body):
        size = body[at]
        name = body[at + 1 : at + 1 + 2 * size].decode("utf-16-le")
        at += 1 + 2 * size
        want(body[at] == 0, "only plain parameters")
        value, at = _value(body, at + 1)
        values.append((name, value))
    want(len(values) >= 2 and not values[0][0] and not values[1][0], "statement and definition come first")
    named = dict(values[2:])
    defined = [part.split()[0] for part in str(values[1][1]).split(",")]
    want(defined == list(named), f"defined are {defined}, given {list(named)}")
    return str(values[0][1]), named


def _value(body: bytes, at: int) -> tuple[object, int]:
    kind = body[at]
    if kind == 0x26:  # INTN
        room, size = body[at + 1], body[at + 2]
        want(room in (1, 2, 4, 8) and size in (0, room), "a whole number")
        end = at + 3 + size
        return (int.from_bytes(body[at + 3 : end], "little", signed=True) if size else None), end
    want(kind == 0xE7, f"a parameter of type {kind:x}")  # NVARCHAR: most, collation, then text
    most = struct.unpack_from("<H", body, at + 1)[0]
    at += 8
    if most != 0xFFFF:
        size = struct.unpack_from("<H", body, at)[0]
        want(size <= most, "longer than its type")
        return body[at + 2 : at + 2 + size].decode("utf-16-le"), at + 2 + size
    text, at = b"", at + 8
    while size := struct.unpack_from("<I", body, at)[0]:
        text += body[at + 4 : at + 4 + size]
        at += 4 + size
    return text.decode("utf-16-le"), at + 4
