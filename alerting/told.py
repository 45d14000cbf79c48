"""An alert's texts in other languages, made of what its row holds and the pack that it was told by.

Only what is certain is translated: where the English text made in the same way is not the one on record (the
alert was pushed by others, or its pack is not readable by this release), English it stays.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from psycopg import AsyncConnection

from alerting.errors import PackError
from alerting.pack import parse_pack
from alerting.rule import Rule
from alerting.texts import Arguments, render
from storage.sql import Queries
from wire.language import LANGUAGES, SOURCE, Language

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]
log = logging.getLogger(__name__)
_KEPT = 4
"""Packs whose texts are kept at hand; alerts speak of the newest one or two."""
_packs: OrderedDict[bytes, Mapping[str, Rule]] = OrderedDict()
"""Digest of a pack's document -> its rules: content-addressed, so it is never out of date."""


class Told(msgspec.Struct, frozen=True):
    """An alert whose texts can be made in any language."""

    rule: Rule
    given: Arguments

    def speaks(self, language: Language) -> bool:
        """Whether both texts are there in a language."""
        texts = dict(self.rule.translations).get(language)
        return language == SOURCE or bool(texts and texts.summary and texts.runbook)

    def summary(self, language: Language) -> str:
        """One line."""
        return render(self.rule.summary_in(language), language, self.given)

    def runbook(self, language: Language) -> str:
        """What to look at first, what to do."""
        return render(self.rule.runbook_in(language), language, self.given)


async def told(conn: Connection, alert_ids: Sequence[int]) -> dict[int, Told]:
    """Of these alerts, those whose texts can be made. The caller has checked who may read them."""
    rows = await (await conn.execute(Q.told_of, {"alert_ids": list(alert_ids)})).fetchall()
    found = {}
    for alert_id, rule_id, instance, host, deployment, value, unit, summary, version, digest in rows:
        rule = (await _rules(conn, version, bytes(digest))).get(rule_id)
        given = Arguments(host, deployment, instance, value, unit)
        if rule is not None and render(rule.summary, SOURCE, given) == summary:
            found[alert_id] = Told(rule, given)
    return found


async def summaries(conn: Connection, alert_id: int) -> dict[Language, str]:
    """The summary in each language that the alert's rule speaks; empty when it cannot be made."""
    found = (await told(conn, [alert_id])).get(alert_id)
    if found is None:
        return {}
    spoken = [SOURCE, *(code for code, texts in found.rule.translations if texts.summary)]
    return {code: found.summary(code) for code in LANGUAGES if code in spoken}


async def _rules(conn: Connection, version: int, digest: bytes) -> Mapping[str, Rule]:
    if digest not in _packs:
        row = await (await conn.execute(Q.pack_document, {"version": version})).fetchone()
        _packs[digest] = _read(row[0] if row else "", version)
        if len(_packs) > _KEPT:
            _packs.popitem(last=False)
    _packs.move_to_end(digest)
    return _packs[digest]


def _read(document: str, version: int) -> Mapping[str, Rule]:
    try:
        return {rule.id: rule for rule in parse_pack(document, f"rules of version {version}").rules}
    except PackError:
        log.warning("the texts of rules version %d cannot be read by this release: told in English", version)
        return {}
