"""What customers read: complete in seven languages, safe in HTML, right to left in Arabic."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from importlib.resources import files
from io import BytesIO
from string import Formatter
from typing import get_args

import pytest
from babel.messages.pofile import read_po

from ticketing.notify.catalogues import catalogue
from ticketing.notify.letters import Message, Topic
from ticketing.notify.reasons import told
from ticketing.notify.wording import TEXTS, word
from ticketing.reason import Reason, to_documents
from ticketing.reason_texts import TEMPLATES, WORDS
from ticketing.registry import LANGUAGES

AT = datetime(2026, 12, 24, 15, 30, tzinfo=UTC)
TOPICS: tuple[Topic, ...] = get_args(Topic)


def message(topic: Topic = "opened", language: str = "en", title: str = "CPU is high") -> Message:
    return Message(
        topic=topic,
        language=language,
        number="UCX-2026-000123",
        title=title,
        customer="Platinum & Co.",
        deployment="Main site",
        priority=2,
        at=AT,
        zone="Europe/Rome",
        due_at=AT,
        by="Mario Rossi",
        reason="restarted <it>",
        after_h=4,
        role="support-manager",
    )


def _fields(text: str) -> set[str | None]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


@pytest.mark.parametrize("language", [code for code in LANGUAGES if code != "en"])
def test_every_text_is_translated_with_its_values(language: str) -> None:
    """No text is missing in any language, none is the English one, and each keeps its placeholders."""
    for text in TEXTS:
        translated = catalogue(language).gettext(text)
        assert _fields(translated) == _fields(text), translated
        assert translated != text or text in ("[{number}] Escalation: {title}", "Problem: {title}"), text


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("topic", TOPICS)
def test_every_message_can_be_said(topic: Topic, language: str) -> None:
    """Each topic in each language: one subject line with the number, text and HTML with the title."""
    worded = word(message(topic, language))
    assert "UCX-2026-000123" in worded.subject
    assert "\n" not in worded.subject
    assert "CPU is high" in worded.text
    assert "{" not in worded.text
    assert f'<html lang="{language}" dir="{"rtl" if language == "ar" else "ltr"}">' in worded.html


def test_times_are_told_in_the_sites_zone_and_the_readers_way() -> None:
    """16:30 in Rome, written as each language writes it."""
    assert "24 dic 2026, 16:30:00 (Europe/Rome)" in word(message(language="it")).text
    assert "24.12.2026, 16:30:00" in word(message(language="de")).text
    assert re.search("[٠-٩]|16:30|4:30", word(message(language="ar")).text)


def test_what_others_wrote_cannot_become_markup_or_headers() -> None:
    """Titles and reasons are escaped in HTML, cannot break the subject, and are never a format."""
    worded = word(message("resolved", title="<script>\r\nBcc: x {number.__class__}"))
    assert "<script>" not in worded.html
    assert "restarted &lt;it&gt;" in worded.html
    assert "\r" not in worded.subject
    assert "{number.__class__}" in worded.text


CLOSING = "2026-12-24T17:00:00+00:00"
DEADLINE = Reason(
    "deadline-hours",
    {"hours": 2, "start_at": "2026-12-24T15:30:00+00:00", "zone": "Europe/Rome"},
    "§4",
    (
        Reason("day-until-closing", {"open_s": 5400, "close_time": CLOSING, "zone": "Europe/Rome"}),
        Reason("day-holiday", {"on_day": "2026-12-25", "plan": "Gold", "hours": "09:00-18:00"}),
        Reason("due", {"due_short": "2026-12-25T08:30:00+00:00", "zone": "Europe/Rome"}),
    ),
)


def test_the_deadlines_arithmetic_in_italian_and_arabic() -> None:
    """The same sum, told in Italian and in Arabic, with dates, durations and plurals of the language."""
    [italian] = told(to_documents([DEADLINE]), "it")
    assert italian == (
        "2 ore lavorative da gio 24 dic 2026 16:30 Roma: 1 h 30 min fino alla chiusura delle 18:00; "
        "ven 25 dic è festivo con orario Gold 09:00-18:00; scade ven 25 dic 09:30"
    )
    [arabic] = told(to_documents([DEADLINE]), "ar")
    assert "ساعات عمل" in arabic
    assert "Gold" in arabic


SAME = {"said", "day-working", "decided-ticket", "decided-sla"}
"""Texts that may read the same in another language."""
OTHERS = tuple(language for language in LANGUAGES if language != "en")


@pytest.mark.parametrize("language", OTHERS)
def test_the_whole_decision_record_is_translated(language: str) -> None:
    """In every language each reason has its text, with the same values."""
    for code, text in TEMPLATES.items():
        translated = catalogue(language).gettext(text)
        assert _fields(translated) == _fields(text), code
        assert translated != text or code in SAME, code


@pytest.mark.parametrize("language", OTHERS)
def test_the_records_words_are_translated(language: str) -> None:
    """Verdicts, channels, licences and theatres have an entry in every catalogue."""
    source = files("ticketing.notify").joinpath("catalogue", f"{language}.po").read_bytes()
    known = read_po(BytesIO(source), locale=language)
    assert [word for word in WORDS if not (known.get(word) and known[word].string)] == []


def test_values_are_told_in_the_readers_language() -> None:
    """Languages, countries, weekdays, cities and verdicts are no English islands in an Italian record."""
    record = [
        Reason("language-main", {"language": "ar", "theatre": "Americas"}),
        Reason("holidays", {"country": "AE"}),
        Reason("decided-sla", {"verdict": "guaranteed"}),
        Reason(
            "calendar-base",
            {"plan": "Basic", "theatre": "Americas", "days": "Mon-Fri", "hours": "7-17", "country": "US"},
        ),
    ]
    assert told(to_documents(record), "it") == [
        "gestito in arabo, lingua principale di Americhe",
        "valgono le festività di Emirati Arabi Uniti",
        "SLA: garantito",
        "orario coperto di Basic in Americhe: lun-ven 7-17, festività escluse (Stati Uniti)",
    ]


def test_latin_values_in_an_arabic_sentence_keep_their_own_direction() -> None:
    """Each value stands between directional isolates in the mail's body, and none in its subject."""
    worded = word(message("opened", "ar", title="CPU of srv-1 (C:)"))
    assert "\u2068CPU of srv-1 (C:)\u2069" in worded.html
    assert "\u2068" not in worded.subject


def test_reasons_of_another_release_stay_english() -> None:
    """A record that this release has no text for is told as it was stored."""
    unknown = {"code": "from-the-future", "text": "something new", "section": "", "params": {}}
    assert told([unknown, {"code": "due", "text": "due then"}], "it") == ["something new", "due then"]
