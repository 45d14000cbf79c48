"""``X-Twilio-Signature``: who may speak to our callback routes.

The signature is base64(HMAC-SHA1(auth token, URL + each POST field's name and value, sorted by name)), over
the exact public URL that the provider called, query string included. A field that stands twice counts once
per different value, in sorted order. For ``https`` the provider may or may not have put the port into what
it signed, so both are accepted, as the vendor's own libraries do.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit, urlunsplit

Fields = Sequence[tuple[str, str]]
"""Form fields as they came, names may repeat."""

HEADER = "X-Twilio-Signature"
_DEFAULT_PORT = {"https": 443, "http": 80}


def sign(token: str, url: str, fields: Fields) -> str:
    """The signature of one request."""
    text = url + "".join(name + value for name, value in sorted(set(fields)))
    # The protocol prescribes SHA-1 here; as a keyed MAC it is not broken.
    mac = hmac.new(token.encode(), text.encode("utf-8", "surrogatepass"), hashlib.sha1)
    return base64.b64encode(mac.digest()).decode()


def is_signed(token: str, url: str, fields: Fields, signature: str | None) -> bool:
    """Whether the request was signed with our token. No token or no signature: no."""
    if not token or not signature:
        return False
    given = signature.encode("utf-8", "replace")
    # All variants are computed and compared in constant time; none ends the loop early.
    return sum(hmac.compare_digest(sign(token, u, fields).encode(), given) for u in _variants(url)) > 0


def _variants(url: str) -> Iterable[str]:
    """The URL with its port, and without (default ports added)."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    bare = urlunsplit(parts._replace(netloc=host))
    ported = urlunsplit(parts._replace(netloc=f"{host}:{parts.port or _DEFAULT_PORT.get(parts.scheme, 80)}"))
    return {url, bare, ported}
