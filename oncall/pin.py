"""A customer's PIN for the on-call line: how it is made, and what is kept of it. Pure.

Ten digits from the system's randomness, shown once. A caller enters nothing but the PIN, so the PIN must also
say whose it is: what is kept must be findable by it. A salt of its own for each row rules that out (every
call would try every row). Kept is therefore a *keyed* digest, argon2id over HMAC-SHA256(secret, PIN) with a
salt that follows from the secret:

- The same PIN always has the same digest: one indexed look-up, whatever the number of customers.
- A stolen database alone is worth nothing: without the secret (of the settings, never in the database) no
  guess can be tried. A plain or merely salted hash of ten digits falls in hours.
- With both stolen each of the 10^10 guesses still costs argon2id's memory and time.

Rejected: argon2id with a salt per row and the customer's number entered first (twice the keys at night, and a
number that is printed on letters); HMAC alone (both stolen: all PINs within minutes).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from argon2.low_level import Type, hash_secret_raw

DIGITS = 10
_LEGAL = re.compile(rf"[0-9]{{{DIGITS}}}")


def new_pin() -> str:
    """A PIN, by chance."""
    return f"{secrets.randbelow(10**DIGITS):0{DIGITS}}"


def is_pin(digits: str) -> bool:
    """Whether these keys can be a PIN at all."""
    return _LEGAL.fullmatch(digits) is not None


def shown(pin: str) -> str:
    """As it is read aloud and printed: ``12345 67890``."""
    return f"{pin[:5]} {pin[5:]}"


def digest(secret: str, pin: str) -> bytes:
    """What is kept of a PIN, 32 bytes. Takes some 20 ms and 19 MiB on purpose: call it off the event loop."""
    key = secret.encode()
    return hash_secret_raw(
        hmac.digest(key, f"on-call pin:{pin}".encode(), hashlib.sha256),
        hmac.digest(key, b"on-call pin salt", hashlib.sha256)[:16],
        time_cost=2,
        memory_cost=19 * 1024,
        parallelism=1,
        hash_len=32,
        type=Type.ID,
    )
