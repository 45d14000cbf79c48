"""TwiML as a list of steps. Strict: what the documentation does not know is a fault, not a guess. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urljoin
from xml.etree import ElementTree as ET

import msgspec


class BadInstructions(Exception):
    """The document is no TwiML that this phone company understands."""


class Say(msgspec.Struct, frozen=True):
    """Speak."""

    text: str


class Pause(msgspec.Struct, frozen=True):
    """Silence."""

    seconds: float


class Hangup(msgspec.Struct, frozen=True):
    """End the call."""


class Redirect(msgspec.Struct, frozen=True):
    """Go on with another document."""

    url: str
    method: str


class Gather(msgspec.Struct, frozen=True):
    """Speak and wait for keys."""

    prompts: tuple[Say | Pause, ...]
    action: str
    method: str
    digits: int
    """How many keys make an answer; 0 = until the finish key."""
    timeout_s: float
    finish_on: str


Step = Say | Pause | Hangup | Redirect | Gather
MAX_BYTES = 65_536


def parse(document: bytes, base_url: str) -> list[Step]:
    """The steps of a TwiML document fetched from ``base_url``."""
    if len(document) > MAX_BYTES:
        raise BadInstructions(f"the document is larger than {MAX_BYTES} bytes")
    if b"<!DOCTYPE" in document or b"<!ENTITY" in document:
        raise BadInstructions("a document type declaration is not accepted")
    try:
        root = ET.fromstring(document)  # noqa: S314 - entities are refused above, the size is bounded
    except ET.ParseError as error:
        raise BadInstructions(f"not well-formed XML: {error}") from error
    if root.tag != "Response":
        raise BadInstructions(f"the root is <{root.tag}>, not <Response>")
    return [_step(element, base_url) for element in root]


def reply_text(document: bytes) -> str:
    """What a messaging document answers: the text of its ``<Message>``, '' if there is none."""
    if len(document) > MAX_BYTES or b"<!DOCTYPE" in document or b"<!ENTITY" in document:
        raise BadInstructions("too large, or with a document type declaration")
    try:
        root = ET.fromstring(document)  # noqa: S314 - entities are refused above, the size is bounded
    except ET.ParseError as error:
        raise BadInstructions(f"not well-formed XML: {error}") from error
    return " ".join(element.text or "" for element in root.iter("Message"))


def _step(element: ET.Element, base: str) -> Step:
    reader = _READERS.get(element.tag)
    if reader is None:
        raise BadInstructions(f"<{element.tag}> is no verb of this phone company")
    return reader(element, base)


def _say(element: ET.Element, base: str) -> Say:
    _allow(element, {"voice", "language", "loop"})
    text = " ".join((element.text or "").split())
    if not text or len(element):
        raise BadInstructions("<Say> needs text, and nothing but text")
    if len(text) > 4096:
        raise BadInstructions("<Say> has at most 4096 characters")
    return Say(text)


def _pause(element: ET.Element, base: str) -> Pause:
    _allow(element, {"length"})
    return Pause(float(_whole(element, "length", 1)))


def _hangup(element: ET.Element, base: str) -> Hangup:
    _allow(element, set())
    return Hangup()


def _redirect(element: ET.Element, base: str) -> Redirect:
    _allow(element, {"method"})
    url = (element.text or "").strip()
    if not url:
        raise BadInstructions("<Redirect> needs a URL")
    return Redirect(urljoin(base, url), _method(element))


def _gather(element: ET.Element, base: str) -> Gather:
    _allow(
        element, {"input", "numDigits", "timeout", "action", "method", "finishOnKey", "actionOnEmptyResult"}
    )
    if element.get("input", "dtmf") != "dtmf":
        raise BadInstructions("<Gather> of this phone company hears keys only (input='dtmf')")
    prompts = [_step(child, base) for child in element]
    spoken = tuple(p for p in prompts if isinstance(p, Say | Pause))
    if len(spoken) != len(prompts):
        raise BadInstructions("<Gather> may hold <Say>, <Play> and <Pause> only")
    return Gather(
        prompts=spoken,
        action=urljoin(base, element.get("action", base)),
        method=_method(element),
        digits=_whole(element, "numDigits", 0),
        timeout_s=float(_whole(element, "timeout", 5)),
        finish_on=element.get("finishOnKey", "#"),
    )


_READERS: Mapping[str, Callable[[ET.Element, str], Step]] = {
    "Say": _say,
    "Pause": _pause,
    "Hangup": _hangup,
    "Redirect": _redirect,
    "Gather": _gather,
}


def _allow(element: ET.Element, names: set[str]) -> None:
    unknown = set(element.attrib) - names
    if unknown:
        raise BadInstructions(f"<{element.tag}> has no attribute {', '.join(sorted(unknown))}")


def _method(element: ET.Element) -> str:
    method = element.get("method", "POST")
    if method not in ("GET", "POST"):
        raise BadInstructions(f"<{element.tag} method={method!r}>: GET or POST")
    return method


def _whole(element: ET.Element, name: str, default: int) -> int:
    text = element.get(name, str(default))
    if not text.isascii() or not text.isdigit() or int(text) > 600:
        raise BadInstructions(f"<{element.tag} {name}={text!r}>: a whole number up to 600 is needed")
    return int(text)
