"""A message in the reader's language: subject, plain text and HTML (Arabic right to left).

The English texts are the message ids of the catalogues (see ``catalogues.py``).
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from babel.dates import format_datetime

from ticketing.notify.catalogues import RIGHT_TO_LEFT, catalogue
from ticketing.notify.letters import Message
from ticketing.notify.reasons import ISOLATES, Local, told

SUBJECTS = {
    "opened": "[{number}] Ticket opened: {title}",
    "taken": "[{number}] Taken in charge: {title}",
    "waiting_customer": "[{number}] Your answer is needed: {title}",
    "waiting_third_party": "[{number}] Waiting for a third party: {title}",
    "resolved": "[{number}] Resolved: {title}",
    "reopened": "[{number}] Reopened: {title}",
    "escalated": "[{number}] Escalation: {title}",
    "at_risk": "[{number}] At risk: {title}",
    "missed": "[{number}] Overdue: {title}",
}
PRIORITIES = {1: "P1 (critical)", 2: "P2 (high)", 3: "P3 (medium)", 4: "P4 (low)"}
LEADS = {
    "opened": "we have opened ticket {number} for {deployment}.",
    "taken": "ticket {number} for {deployment} was taken in charge on {at}.",
    "waiting_customer": "to go on with ticket {number} for {deployment} we need your answer.",
    "waiting_third_party": "ticket {number} for {deployment} waits for a third party.",
    "resolved": "ticket {number} for {deployment} was resolved on {at}.",
    "reopened": "ticket {number} for {deployment} was reopened on {at}.",
    "escalated": "ticket {number} of {customer} ({deployment}) has been open for {after_h} working hours.",
    "at_risk": "nobody has taken charge of ticket {number} of {customer} ({deployment}); it is due {due}.",
    "missed": "nobody took charge of ticket {number} of {customer} ({deployment}); it was due {due}.",
}
GREETING = "Good day,"
PROBLEM = "Problem: {title}"
PRIORITY = "Priority: {priority}"
PROACTIVE = "It was found by proactive monitoring, before anybody reported it."
DUE = "We will take charge of it before {due}."
DUE_BEST_EFFORT = "We aim to take charge of it by {due}; this time is not guaranteed."
NO_TARGET = "There is no fixed time for taking charge of it."
IN_CHARGE = "In charge: {by}"
WRITTEN = "What was written: {reason}"
HOW = "How this time follows: {why}"
PAUSED = "Until then its clock stands still."
COMES_BACK = "Should the problem come back, tell us the ticket's number: it will be reopened."
SUPPORT = "Your support team"
_NO_ISOLATES = dict.fromkeys(map(ord, ISOLATES))
"""A subject is one short line: mail programs set its direction, some show these marks as boxes."""
TEXTS = (
    *SUBJECTS.values(),
    *PRIORITIES.values(),
    *LEADS.values(),
    *(GREETING, PROBLEM, PRIORITY, PROACTIVE, DUE, DUE_BEST_EFFORT, NO_TARGET),
    *(IN_CHARGE, WRITTEN, HOW, PAUSED, COMES_BACK, SUPPORT),
)
"""Every text that the catalogues translate."""


class Worded(msgspec.Struct, frozen=True):
    """A message, ready to be sent."""

    subject: str
    """One line."""
    text: str
    html: str


def word(message: Message) -> Worded:
    """The message in its language."""
    say = _Speaker(message)
    lines = [say(GREETING), say(LEADS[message.topic]), *_facts(message, say), *_more(message, say)]
    lines.append(say(SUPPORT))
    subject = " ".join(say(SUBJECTS[message.topic]).translate(_NO_ISOLATES).split())
    return Worded(subject, "\n\n".join(lines) + "\n", _html(message.language, subject, lines))


class _Speaker:
    """Says a text of ours in the message's language, with the message's values."""

    def __init__(self, message: Message) -> None:
        self._catalogue = catalogue(message.language)
        local = Local(message.language)
        values = msgspec.structs.asdict(message) | {
            "at": _told(message.at, message),
            "due": "" if message.due_at is None else _told(message.due_at, message),
        }
        self._values = {
            name: local.aside(value) if isinstance(value, str) and value else value
            for name, value in values.items()
        } | {
            "priority": self._catalogue.gettext(PRIORITIES[message.priority]),
            "why": local.join(told(message.reasons, message.language)),
        }

    def __call__(self, text: str) -> str:
        return self._catalogue.gettext(text).format_map(self._values)


def _told(at: datetime, message: Message) -> str:
    """A time in the site's zone, written as the language writes it, with the zone's name."""
    local = at.astimezone(ZoneInfo(message.zone))
    return f"{format_datetime(local, 'medium', locale=message.language)} ({message.zone})"


def _facts(message: Message, say: _Speaker) -> Iterator[str]:
    yield say(PROBLEM)
    yield say(PRIORITY)
    if message.by:
        yield say(IN_CHARGE)
    if message.reason:
        yield say(WRITTEN)


def _more(message: Message, say: _Speaker) -> Iterator[str]:
    if message.topic == "opened" and message.proactive:
        yield say(PROACTIVE)
    if message.topic in ("opened", "reopened"):
        yield say(_target(message))
        if message.reasons:
            yield say(HOW)
    if message.topic in ("waiting_customer", "waiting_third_party"):
        yield say(PAUSED)
    if message.topic == "resolved":
        yield say(COMES_BACK)


def _target(message: Message) -> str:
    if message.due_at is None:
        return NO_TARGET
    return DUE if message.guaranteed else DUE_BEST_EFFORT


def _html(language: str, subject: str, lines: list[str]) -> str:
    direction = "rtl" if language in RIGHT_TO_LEFT else "ltr"
    body = "\n".join(f"<p>{html.escape(line)}</p>" for line in lines)
    return (
        f'<!DOCTYPE html>\n<html lang="{language}" dir="{direction}">\n'
        f'<head><meta charset="utf-8"><title>{html.escape(subject)}</title></head>\n'
        f"<body>\n{body}\n</body>\n</html>\n"
    )
