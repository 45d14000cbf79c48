"""Reading the texts of rules: English in place, other languages beside it or at the pack's end.

    summary: CPU of {host} is busy                              # English alone
    summary: {en: CPU of {host} is busy, it: CPU di {host} occupata}
    translations:                                               # of the pack: language -> rule -> texts
      it:
        host.cpu: {summary: CPU di {host} occupata, runbook: Vedere quale processo ...}

A translation names what the English text names, no more and no less: else it would say less, or show braces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from alerting.document import Field
from alerting.rule import Compound, Rule, Source
from alerting.texts import PLACEHOLDERS, Translation, placeholders
from wire.language import LANGUAGES, SOURCE, Language

_KINDS = ("summary", "runbook")
_OTHERS = tuple(code for code in LANGUAGES if code != SOURCE)
_changed = msgspec.structs.replace


class Written(msgspec.Struct, frozen=True):
    """A rule's texts."""

    english: Translation
    translations: tuple[tuple[Language, Translation], ...] = ()


def texts(fields: Mapping[str, Field], source: Source | None) -> Written:
    """The texts that stand with a rule, all languages."""
    found = {kind: _in_languages(fields[kind]) for kind in _KINDS if kind in fields}
    for kind, written in found.items():
        _check_english(fields[kind], written.get(SOURCE, ""), source)
    by_language = [(code, _of(found, code)) for code in _OTHERS]
    return Written(_of(found, SOURCE), tuple((code, t) for code, t in by_language if t != Translation()))


def _of(found: Mapping[str, Mapping[str, str]], code: str) -> Translation:
    return Translation(**{kind: written.get(code, "") for kind, written in found.items()})


def _in_languages(field: Field) -> dict[str, str]:
    """Language -> text; a plain text is English."""
    if not field.is_mapping:
        return {SOURCE: field.text()}
    fields = field.mapping((SOURCE,), _OTHERS)
    written = {code: item.text() for code, item in fields.items()}
    for code, item in fields.items():
        _check_same(item, written[code], written.get(SOURCE, written[code]))
    return written


def _check_english(field: Field, text: str, source: Source | None) -> None:
    strange = sorted(placeholders(text) - set(PLACEHOLDERS))
    if strange:
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        field.fault(f"'{{{strange[0]}}}' is not known; known are: {known}")
    if "value" in placeholders(text) and isinstance(source, Compound):
        field.fault("names {value}, but a rule on alerts has none")


def _check_same(field: Field, text: str, english: str) -> None:
    missing = sorted(placeholders(english) - placeholders(text))
    added = sorted(placeholders(text) - placeholders(english))
    if missing:
        field.fault(f"does not name '{{{missing[0]}}}', as the English text does")
    if added:
        field.fault(f"names '{{{added[0]}}}', as the English text does not")


def translated(rules: Sequence[Rule], field: Field, *, complete: bool) -> list[Rule]:
    """The rules with the pack's translations; what stands with a rule itself may not stand here again.

    ``complete``: these are all of the pack's rules, none was left out for its faults."""
    found = {rule.id: dict(rule.translations) for rule in rules}
    known = {rule.id: rule for rule in rules}
    for code, of_language in field.mapping((), _OTHERS).items():
        for rule_id, item in of_language.mapping((), None).items():
            if rule_id in known:
                found[rule_id][_language(code)] = _merged(item, known[rule_id], _language(code))
            elif complete:
                item.fault(f"there is no rule '{rule_id}'")
    return [_changed(rule, translations=tuple(sorted(found[rule.id].items()))) for rule in rules]


def _language(code: str) -> Language:
    return next(known for known in LANGUAGES if known == code)


def _merged(field: Field, rule: Rule, code: Language) -> Translation:
    here = dict(rule.translations).get(code, Translation())
    for kind, item in field.mapping((), _KINDS).items():
        text = item.text()
        if getattr(here, kind):
            item.fault("stands with the rule too: leave one of them out")
        _check_same(item, text, getattr(rule, kind))
        here = _changed(here, **{kind: text})
    return here


def joined(document: str, languages: Mapping[Language, str]) -> str:
    """One document of a pack and its languages' files, each ``rule: {summary, runbook}``."""
    parts = [document.rstrip("\n"), "", "translations:"]
    for code, text in languages.items():
        parts += [f"  {code}:", *(f"    {line}".rstrip() for line in text.splitlines())]
    return "\n".join(parts) + "\n" if languages else document
