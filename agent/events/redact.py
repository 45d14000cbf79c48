"""Personal data and secrets out of log lines, before they enter the spool.

In doubt it is removed: a number of seven or more digits may be a phone number, so it goes, and a disk's size
in bytes with it. Dates, times, private addresses and hexadecimal codes (0x...) stay. What was removed is
named by its kind: ``[number]``, ``[mail]``, ``[secret]`` ...

The patterns are linear: each repetition is bounded or its parts exclude each other.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable

MAX_INPUT = 16_384
"""Characters looked at; a longer line is cut first."""
_CUT_MARGIN = 80
"""Characters given up at the end of a line that was cut: half a secret may stand there."""

_KEYWORDS = (
    r"pass[ _-]?(?:word|wd|wort|phrase|code)|pwd|kennwort|parola(?:\s*d'ordine)?|contrase(?:ñ|n)a|senha"
    r"|mot\s*de\s*passe|secret|token|credential|(?:api|access|private|shared|account)[_-]?key"
    r"|connection[_-]?string|sess(?:ion)?[_-]?(?:id|key)"
)
"""Whatever word they are part of (PGPASSWORD, csrfToken, passwordHash)."""
_SHORT_KEYWORDS = (
    r"pass|pin|otp|puk|tan|cvv|sid|sess(?:ion)?|cookie|set-cookie|sig(?:nature)?|nonce|auth|x-api-key"
)
"""Only as words of their own."""
_HEADERS = r"(?:proxy-)?authorization|(?:set-)?cookie2?"
"""Their whole line is the value."""
_PERSON_NAMES = (
    r"user(?:[_ -]?(?:name|id))?|uid|login(?:[_-]?name)?|account(?:[_ -]?name)?|benutzer(?:name)?|utente"
    r"|usuario|utilisateur|logname|ruser|caller(?:[_-]?(?:id|name|number))?|callee|called(?:[_-]?number)?"
    r"|display[_-]?name|first[_-]?name|last[_-]?name|full[_-]?name|cognome|nachname|vorname|nome|contact"
    r"|kontoname|nom[eb]?(?:re)?\s(?:du|de|da|d['’]|account)\s?(?:compte|cuenta|conta|usu[aá]rio|utilisateur)?"
    r"|nome\s(?:account|utente)"
)
_ANY_PERSON_NAME = (
    r"(?:user|account|login|display|first|last|full|caller|callee|called)[_-]?(?:name|id|number)"
)
"""Whatever word they are part of (TargetUserName)."""
_IS = r"(?:[=:]|:=|[=-]>|%3[AD]|>)"
_ARE = r"(?:is|was|ist|war|lautet|è|era|es|est|était|é|foi)"
_VALUE = (
    r"(?:\"(?:\\.|[^\"\\\n]){0,2000}\"?|'(?:\\.|[^'\\\n]){0,2000}'?|\{[^}\n]{0,2000}\}?"
    r"|(?:%20|\\.|[^\s,;&\"'<>{\\])(?:\\.|,(?=\S)|[^\s,;&<>\\]){0,2000})"
)
_TELLING = r"""(?:"[^"\n]{1,500}"?|'[^'\n]{1,500}'?|(?=[^\s]{0,100}[\d!#$%^&*?+=@])[^\s,;<>]{3,500})"""
"""After a keyword and nothing but a blank: what stands in quotes, or does not look like a word."""
_SEPARATOR = (
    "(?:[ \t\u00a0\u2000-\u200f\u202a-\u202f\u2060().\\-/_·\u2010\u2011\u2012\u2013\u2014\u2212]"
    "|,(?! )|%2[0-9A-Fa-f]|&nbsp;|&#x?[0-9A-Fa-f]{2,4};)"
)
_DIGITS = rf"[+(]{{0,2}}\d(?:{_SEPARATOR}{{0,3}}\d){{6,}}"


def _compiled(pattern: str, flags: int = 0) -> re.Pattern[str]:
    return re.compile(pattern, flags)


_IGNORE = re.IGNORECASE
_RULES: tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...] = (
    (_compiled(r"-----BEGIN [A-Z ]{1,40}-----.*?(?:-----END [A-Z ]{1,40}-----|\Z)", re.DOTALL), "[secret]"),
    (_compiled(r"\b([a-z][a-z0-9+.-]{1,20}://)[^\s/@]{1,512}@", _IGNORE), r"\1[secret]@"),
    (
        _compiled(r"\b([a-z][a-z0-9+.-]{1,20}://)[^\s/@:]{0,128}:(?!\d{1,5}(?:/|$))[^\s@]{1,512}@", _IGNORE),
        r"\1[secret]@",
    ),
    (
        _compiled(
            rf"(?<![A-Za-z])({_HEADERS})([\"']?\s{{0,3}}[=:]\s{{0,3}})"
            rf"(?:\"(?:\\.|[^\"\\\n]){{0,4000}}\"|'[^'\n]{{0,4000}}'|[^\n]{{1,4000}})",
            _IGNORE,
        ),
        r"\1\2[secret]",
    ),
    (
        _compiled(
            r"\b(bearer|basic|digest|negotiate|ntlm)(?:[ \t]|%20){1,3}[A-Za-z0-9+/=._~%-]{6,}", _IGNORE
        ),
        r"\1 [secret]",
    ),
    (
        _compiled(
            rf"((?:{_KEYWORDS})[\w-]{{0,16}}|(?<![A-Za-z])(?:{_SHORT_KEYWORDS})(?![A-Za-z]))"
            rf"([\"']?\s{{0,3}}(?:{_IS}(?:\s{{0,3}}\|[+-]?)?|(?<=\s){_ARE}\s|value\s{{0,2}}=)\s{{0,8}})"
            rf"{_VALUE}",
            _IGNORE,
        ),
        r"\1\2[secret]",
    ),
    (
        _compiled(
            rf"((?:{_KEYWORDS})\s(?:for|of|per|für|von|di|de|do|pour|para)\s)(\S{{1,64}})(\s{_ARE}\s)\S{{1,500}}",
            _IGNORE,
        ),
        r"\1[user]\3[secret]",
    ),
    (_compiled(rf"((?:{_KEYWORDS})s?\s{{1,3}}){_TELLING}", _IGNORE), r"\1[secret]"),
    (_compiled(rf"(--?[\w-]{{0,20}}(?:{_KEYWORDS})\s{{1,3}})[^\s-]\S{{0,500}}", _IGNORE), r"\1[secret]"),
    (
        _compiled(r"\b((?:pin|otp|puk|tan|cvv|cvc)(?:\s(?:code|number))?[\s:#]{1,3})\d{3,12}\b", _IGNORE),
        r"\1[secret]",
    ),
    (_compiled(r"(?<!\S)(-u|--user)(\s{0,3})[^\s:]{1,128}:\S{1,500}"), r"\1\2[secret]"),
    (
        _compiled(r"\b((?:sshpass|mysql\w{0,12}|mariadb\w{0,12})\s(?:[^\n]{0,120}?\s)?-p)\s?[^\s-]\S{0,500}"),
        r"\1[secret]",
    ),
    (_compiled(r"\b(net\s{1,3}use\s)[^\n]{1,1000}", _IGNORE), r"\1[secret]"),
    (_compiled(r"\beyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,4}"), "[secret]"),
    (
        _compiled(r"\b(?:ucx[ek]_|gh[opsu]_|github_pat_|xox[abprs]-|sk-|AKIA|ASIA|AIza|ya29\.)[\w-]{8,}"),
        "[secret]",
    ),
    (_compiled(r"\"[^\"\n@]{1,64}\"@[^\s@<>\"'(),;:=\[\]\\|/]{1,255}"), "[mail]"),
    (
        _compiled(r"[^\s@<>\"(),;:=\[\]\\|/]{1,64}(?:@|%40|&#64;|&#x40;)[^\s@<>\"'(),;:=\[\]\\|/]{1,255}"),
        "[mail]",
    ),
    (_compiled(r"(?<![\\\w:.])[A-Z][A-Z0-9-]{1,14}\\(?!\\)[\w.$-]{1,64}"), "[user]"),
    (
        _compiled(r"(?<![\\\w:./-])[a-z][\w-]{1,14}\\(?!\\)[\w$-]{1,64}(?![\\\w.$-]*[\\.]\w)", _IGNORE),
        "[user]",
    ),
    (_compiled(r"([A-Za-z]:\\Users\\|/home/|/Users/)[^\\/\s:;,\"']{1,64}", _IGNORE), r"\1[user]"),
    (_compiled(r"\bS-1-5-21(?:-\d{1,10}){1,5}"), "[user]"),
    (
        _compiled(
            rf"({_ANY_PERSON_NAME}|(?<![A-Za-z])(?:{_PERSON_NAMES}))([\"']?\s{{0,3}}(?:[=:]|:=|=>)\s{{0,3}})"
            rf"(?:{_DIGITS}|{_VALUE})",
            _IGNORE,
        ),
        r"\1\2[user]",
    ),
    (_compiled(r"\b(for|by|of)( (?:invalid |unknown )?user) [^\s,;:()]{1,64}", _IGNORE), r"\1\2 [user]"),
    (
        _compiled(r"\b((?:password|publickey|session (?:opened|closed)) for) [^\s,;:()]{1,64}", _IGNORE),
        r"\1 [user]",
    ),
    (_compiled(r"\b[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,4})?\b", _IGNORE), "[iban]"),
    (_compiled(r"\b[A-Z]{6}\d\d[A-Z]\d\d[A-Z]\d{3}[A-Z]\b", _IGNORE), "[id]"),
    (
        _compiled(
            r"(?<![\w/+.-])(?=[A-Za-z0-9+/_-]{0,200}\d)(?=[A-Za-z0-9+/_-]{0,200}[A-Z])"
            r"(?=[A-Za-z0-9+/_-]{0,200}[a-z])[A-Za-z0-9+/_-]{24,}={0,2}"
        ),
        "[secret]",
    ),
    (_compiled(r"(?<!0x)\b[0-9a-f]{32,}\b", _IGNORE), "[secret]"),
)

_ADDRESS = _compiled(r"\b(?:sips?|tel|callto|mailto|xmpp)(?::|%3A)[^\s>;,\"']{1,256}>?", _IGNORE)
_NAME_BEFORE = _compiled(r"(?:\"[^\"\n]{0,120}\"|[\w .'-]{1,60})\s?<?\Z|<\Z")
_LONGEST_NAME = 124

_DATE_TIME = (
    r"\b(?:19|20)\d\d(?P<ymd>[-/.])[01]\d(?P=ymd)[0-3]\d"
    r"(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?)?(?![\d-])"
    r"|\b[0-3]\d(?P<dmy>[-/.])[01]\d(?P=dmy)(?:19|20)\d\d(?: \d\d:\d\d(?::\d\d)?)?(?![\d-])"
    r"|\b\d\d:\d\d:\d\d(?:[.,]\d{1,9})?\b"
)
_HEX = r"\b0x[0-9A-Fa-f]{1,16}\b"
_GUID = r"\b[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\b"
_IPV4 = r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.]*\d)"
_IPV6 = r"(?<![\w:])(?=[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:]*:)[0-9A-Fa-f:]{3,39}(?![\w:])"
_NUMBERS = re.compile(rf"(?P<keep>{_DATE_TIME}|{_HEX}|{_GUID})|(?P<ip>{_IPV4}|{_IPV6})|(?P<phone>{_DIGITS})")


def redact(text: str) -> str:
    """The text without personal data and secrets, on one read of at most ``MAX_INPUT`` characters."""
    cut = len(text) > MAX_INPUT
    text = _without_addresses(text[:MAX_INPUT])
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = _NUMBERS.sub(_number, text)
    return text[:-_CUT_MARGIN] if cut else text


def _without_addresses(text: str) -> str:
    """SIP and other addresses out of the text, with the name that stands before each."""
    out: list[str] = []
    at = 0
    for found in _ADDRESS.finditer(text):
        begin = max(at, found.start() - _LONGEST_NAME)
        name = _NAME_BEFORE.search(text, begin, found.start())
        out += [text[at : name.start() if name else found.start()], "[address]"]
        at = found.end()
    return "".join([*out, text[at:]])


def _number(match: re.Match[str]) -> str:
    if match["keep"]:
        return match[0]
    if match["ip"]:
        return match[0] if _is_private(match[0]) else "[ip]"
    return "[number]"


def _is_private(text: str) -> bool:
    """Addresses inside a site are technical; one of the internet may be a person's line."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.is_private or address.is_loopback or address.is_link_local or address.is_unspecified
