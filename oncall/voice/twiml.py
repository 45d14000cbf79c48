"""What the callee hears, and the TwiML documents that say it. Pure.

The menu: 4 acknowledge, 5 next person, 1 repeat. Every document is built with an XML writer, so a customer
called ``R&D <Ltd>`` breaks nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from xml.etree import ElementTree as ET

from ticketing.published import Briefing


def spoken_number(number: str) -> str:
    """A ticket number read character by character: ``UCX-2026-000123`` -> ``U C X, 2 0 2 6, 0 0 0 1 2 3``."""
    return ", ".join(" ".join(part) for part in number.split("-") if part)


def spoken_since(since: datetime, now: datetime) -> str:
    """``since 14:32 UTC, 12 minutes ago``."""
    minutes = max(0, int((now - since).total_seconds()) // 60)
    hours, rest = divmod(minutes, 60)
    ago = (
        _count(rest, "minute")
        if not hours
        else _count(hours, "hour") + (f" {_count(rest, 'minute')}" if rest else "")
    )
    day = "" if since.date() == now.date() else since.strftime("%d %B, ")
    return f"since {day}{since:%H:%M} UTC, {ago} ago"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def message(person: str, briefings: Sequence[Briefing], now: datetime) -> str:
    """The spoken message for a technician, in English, about one ticket."""
    return " ".join([f"Hello {person}. This is U C X on-call.", *(_one(b, now) for b in briefings)])


def summary(person: str, briefings: Sequence[Briefing], now: datetime) -> list[str]:
    """The same about several tickets: a greeting with their number, then one short text for each."""
    head = f"Hello {person}. This is U C X on-call with {len(briefings)} tickets."
    return [head, *(f"Ticket {i}. {_one(b, now)}" for i, b in enumerate(briefings, 1))]


def _one(b: Briefing, now: datetime) -> str:
    where = f" on {b.host}" if b.host and b.host not in b.title else ""
    title = b.title.rstrip(". ")
    return (
        f"Priority {b.priority} for {b.customer}: {title}{where}, {spoken_since(b.since, now)}. "
        f"Ticket {spoken_number(b.number)}."
    )


MENU = "Press 4 to take it in charge, 5 for the next person, 1 to repeat."
WRONG_KEY = "That key means nothing here."
NOTHING = "No key was pressed. The next person will be called."
ENGLISH = "en-GB"


class Wording(NamedTuple):
    """The words around a message, and the language they are spoken in."""

    menu: str = MENU
    nothing: str = NOTHING
    language: str = ENGLISH


OURS = Wording()


def menu(text: str, gather_url: str, again_url: str | None, words: Wording = OURS) -> str:
    """Read the text and the menu and wait for one key; nothing pressed: ``again_url``, or good-bye."""
    response = ET.Element("Response")
    _listen(response, [text, words.menu], gather_url, words.language)
    _end(response, again_url, words)
    return _document(response)


def ask(text: str, gather_url: str, again_url: str | None, digits: int, nothing: str) -> str:
    """Read the text and wait for so many keys, or fewer and the hash key; nothing: ``again_url``, or
    good-bye."""
    response = ET.Element("Response")
    _listen(response, [text], gather_url, ENGLISH, digits)
    _end(response, again_url, Wording(nothing=nothing))
    return _document(response)


def _listen(
    response: ET.Element, texts: Sequence[str], gather_url: str, language: str, digits: int = 1
) -> None:
    attributes = {"input": "dtmf", "numDigits": str(digits), "timeout": "8"}
    attributes |= {"action": gather_url, "method": "POST"}
    gather = ET.SubElement(response, "Gather", attributes)
    for number, text in enumerate(texts):
        if number:
            ET.SubElement(gather, "Pause", {"length": "1"})
        _say(gather, text, language)


def _end(response: ET.Element, again_url: str | None, words: Wording = OURS) -> None:
    if again_url:
        ET.SubElement(response, "Redirect", {"method": "POST"}).text = again_url
        return
    _say(response, words.nothing, words.language)
    ET.SubElement(response, "Hangup")


def menu_after(items: Sequence[str], gather_url: str, again_url: str | None, count: int, lead: str) -> str:
    """Read every item to its end, and only then listen: key 4 takes what was read out, all of it."""
    response = ET.Element("Response")
    for item in [lead + items[0], *items[1:]]:
        _say(response, item)
    menu = MENU.replace("take it", f"take all {count}")
    _listen(response, [menu], gather_url, ENGLISH)
    _end(response, again_url)
    return _document(response)


def goodbye(text: str, language: str = ENGLISH) -> str:
    """Say one thing and hang up."""
    response = ET.Element("Response")
    _say(response, text, language)
    ET.SubElement(response, "Hangup")
    return _document(response)


def _say(parent: ET.Element, text: str, language: str = ENGLISH) -> None:
    ET.SubElement(parent, "Say", {"language": language}).text = _legal(text)


def _legal(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold at all."""
    return "".join(
        c if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c >= "\U00010000" else " "
        for c in text
    )


def _document(root: ET.Element) -> str:
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode")
