"""``X-Twilio-Signature``, against the vendor's own published vectors."""

from __future__ import annotations

import pytest

from oncall.voice.signature import is_signed, sign

TOKEN = "12345"
URL = "https://mycompany.com/myapp.php?foo=1&bar=2"
FIELDS = [
    ("CallSid", "CA1234567890ABCDE"),
    ("Digits", "1234"),
    ("From", "+14158675309"),
    ("To", "+18005551212"),
    ("Caller", "+14158675309"),
]
SIGNATURE = "RSOYDt4T1cUTdK1PDd93/VVr8B8="


def test_the_published_vector() -> None:
    """The example of the vendor's documentation and libraries."""
    assert sign(TOKEN, URL, FIELDS) == SIGNATURE
    assert is_signed(TOKEN, URL, FIELDS, SIGNATURE)


def test_repeated_fields_count_once_per_value_in_order() -> None:
    """The vendor's vector for a form in which a name stands twice."""
    fields = [("Sid", "CA123"), ("SidAccount", "AC123"), ("Digits", "5678"), ("Digits", "1234")]
    assert sign(TOKEN, URL, fields) == "IK+Dwps556ElfBT0I3Rgjkr1wJU="


@pytest.mark.parametrize(
    ("url", "signature"),
    [
        (URL.replace(".com", ".com:1234"), SIGNATURE),
        (URL, "kvajT1Ptam85bY51eRf/AJRuM3w="),
        (URL.replace("https", "http"), "0ZXoZLH/DfblKGATFgpif+LLRf4="),
        (URL.replace("https", "http").replace(".com", ".com:1234"), "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="),
    ],
)
def test_with_and_without_the_port(url: str, signature: str) -> None:
    """The vendor's vectors for URLs that were signed with a port added or left out."""
    assert is_signed(TOKEN, url, FIELDS, signature)


@pytest.mark.parametrize(
    ("token", "url", "fields", "signature"),
    [
        ("", URL, FIELDS, sign("", URL, FIELDS)),
        (TOKEN, URL, FIELDS, None),
        (TOKEN, URL, FIELDS, ""),
        (TOKEN, URL, FIELDS, SIGNATURE[:-1]),
        (TOKEN, URL, FIELDS, SIGNATURE.lower()),
        (TOKEN, URL, FIELDS, "\udcff"),
        ("54321", URL, FIELDS, SIGNATURE),
        (TOKEN, URL + "&x=1", FIELDS, SIGNATURE),
        (TOKEN, URL.replace("mycompany", "yourcompany"), FIELDS, SIGNATURE),
        (TOKEN, URL, [*FIELDS, ("Extra", "1")], SIGNATURE),
        (TOKEN, URL, FIELDS[1:], SIGNATURE),
    ],
)
def test_anything_else_is_refused(
    token: str, url: str, fields: list[tuple[str, str]], signature: str | None
) -> None:
    """No token, no signature, another key, URL or form: refused."""
    assert not is_signed(token, url, fields, signature)
