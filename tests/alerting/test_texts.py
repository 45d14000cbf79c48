"""Summaries and runbooks in seven languages: the shipped ones, what is filled in, who is told in which."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from alerting import published, told
from alerting.pack import default_document, parse_pack
from alerting.rulebook import store_pack
from alerting.ruletext import untold
from alerting.texts import Arguments, placeholders, quantity, render
from storage.pool import Pool
from tests.alerting.kit import CPU, START, evaluator_in, event, frame, history, ingest, minutes, seed
from tests.alerting.test_api import ADMIN, Api
from wire.access import Principal, Role
from wire.language import LANGUAGES, SOURCE, Language, preferred

RULES = parse_pack(default_document()).rules
OTHERS = [code for code in LANGUAGES if code != SOURCE]
GIVEN = Arguments("srv-1", "main", "MAIN", 0.912, "%")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_shipped_rule_speaks_every_language(language: Language) -> None:
    """Summary and runbook of every rule: nothing left in braces, no doubled blanks, and what is filled in is
    there; in another language they are another text."""
    for rule in RULES:
        for template in (rule.summary_in(language), rule.runbook_in(language)):
            text = render(template, language, GIVEN)
            assert not re.search(r"[{}]|  |\n", text), (rule.id, text)
            for name, filled in (("host", "srv-1"), ("deployment", "main"), ("instance", "MAIN")):
                assert (filled in text) or name not in placeholders(template), (rule.id, text)
        assert rule.summary_in(language) != rule.summary or language == SOURCE, rule.id
        assert rule.runbook_in(language) != rule.runbook or language == SOURCE, rule.id


def test_no_translation_of_the_shipped_pack_is_missing() -> None:
    """What ``rules check --translated`` would say of it: nothing. Of a pack without one it says which."""
    assert list(untold(RULES)) == []
    text = default_document()
    alone = parse_pack(text[: text.index("translations:")]).rules
    first = next(iter(untold(alone)))
    assert first.startswith(f"it: {len(alone)} of {len(alone)} rules are told in English: host.silent")


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_are_written_in_their_script(language: Language) -> None:
    """Arabic in Arabic letters, the others in Latin ones: no file bears another language's name."""
    for rule in RULES:
        arabic = bool(re.search(r"[\u0621-\u064a]", rule.summary_in(language)))
        assert arabic is (language == "ar"), rule.id


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", "97.1% 412 MB 1.5 GiB 1,235,000 17 3.5/s 15 min|1 day 2 hr 40 ms"),
        ("it", "97,1% 412 MB 1,5 GiB 1.235.000 17 3,5/s 15 min|1 giorno 2 h 40 ms"),
        ("fr", "97,1 % 412 Mo 1,5 Gio 1 235 000 17 3,5/s 15 min|1 j 2 h 40 ms"),
        ("de", "97,1 % 412 MB 1,5 GiB 1.235.000 17 3,5/s 15 Min.|1 Tg. 2 Std. 40 ms"),
        ("es", "97,1 % 412 MB 1,5 GiB 1.235.000 17 3,5/s 15 min|1d 2 h 40 ms"),
        ("pt", "97,1% 412 MB 1,5 GiB 1.235.000 17 3,5/s 15 min|1 dia 2 h 40 ms"),
    ],
)
def test_numbers_are_written_as_the_language_writes_them(language: Language, expected: str) -> None:
    """Decimal mark, grouping, percent, sizes (octets in French), durations in their two largest parts."""
    shown = [
        quantity(value, unit, language)
        for value, unit in (
            *((0.971, "%"), (412e6, "GB"), (1.5 * 2**30, "MiB"), (1_234_567.0, "")),
            *((17.0, "count"), (3.5, "/s"), (900.0, "min"), (93_784.0, "d"), (0.04, "ms")),
        )
    ]
    found = " ".join(shown[:7]) + "|" + " ".join(shown[7:])
    assert re.sub(r"[\u00a0\u202f]", " ", found) == expected


def test_names_in_an_arabic_sentence_stand_by_themselves() -> None:
    """A Latin name between Arabic words is isolated, so that nothing around it changes places."""
    rule = next(r for r in RULES if r.id == "host.disk")
    text = render(rule.summary_in("ar"), "ar", Arguments("srv-1", "main", "C:", None, ""))
    assert "\u2068srv-1\u2069" in text
    assert "\u2068C:\u2069" in text


@given(st.text(), st.text(), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(LANGUAGES))
def test_what_is_filled_in_is_never_a_template(
    host: str, instance: str, value: float, language: Language
) -> None:
    """Whatever a host or instance is called - braces, too - it is written as it is; no value breaks it."""
    for unit in ("%", "MB", "MiB", "s", "d", "/s", "", "count", "unheard-of"):
        text = render("{host}|{instance}|{value}", language, Arguments(host, "d", instance, value, unit))
        assert re.sub("[\u2068\u2069]", "", text).startswith(
            re.sub("[\u2068\u2069]", "", f"{host}|{instance}|")
        )


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("pt-BR,pt;q=0.9,en;q=0.8", "pt"),
        ("zh, nl;q=0.9, de;q=0.2", "de"),
        ("fr;q=0, it;q=0.1", "it"),
        ("*", "en"),
        ("AR-sa", "ar"),
        ("", "en"),
        (None, "en"),
        (";;q=,=,\x00", "en"),
        ("it" * 100_000, "en"),
    ],
)
def test_the_language_that_a_browser_asks_for(header: str | None, language: str) -> None:
    """The best of ours; regions do not matter; what cannot be read is passed over."""
    assert preferred(header) == language


@pytest_asyncio.fixture
async def api(pool: Pool) -> AsyncIterator[Api]:
    made = Api(pool)
    async with made.client:
        yield made


async def full_database(pool: Pool) -> int:
    """One alert that fires; its id."""
    (scope,) = await seed(pool)
    evaluator = await evaluator_in(pool)
    await ingest(pool, evaluator, scope, [event(START, "MSSQLSERVER", "1105", "no space")], START)
    ((alert, _),) = await history(pool)
    return alert.alert_id


async def test_an_alert_is_told_in_the_language_asked_for(pool: Pool, api: Api) -> None:
    """By ``?language=``, else by Accept-Language, else in English; with its runbook; a language that is none
    of ours is refused, another customer's alert not found."""
    number = await full_database(pool)
    path = f"/v1/alerts/{number}"
    found = await api.get(path, language="it")
    assert found.json()["summary"] == "Il database di node-1 non può scrivere"
    assert found.json()["runbook"].startswith("Vedere le regole su dimensione")
    assert (found.headers["Content-Language"], found.json()["language"]) == ("it", "it")
    api.client.headers["Accept-Language"] = "de-AT, en;q=0.5"
    assert (await api.get(path)).json()["summary"] == "Die Datenbank von node-1 kann nicht schreiben"
    (listed,) = (await api.get("/v1/alerts")).json()
    assert listed["summary"] == "Die Datenbank von node-1 kann nicht schreiben"
    (listed,) = (await api.get("/v1/alerts", language="en")).json()
    assert listed["summary"] == "The database of node-1 cannot write"
    assert (await api.get(path, language="nl")).status_code == 422
    stranger = Principal("other", Role.READER, tenant_id=99)
    assert (await api.get(path, stranger, language="it")).status_code == 404
    assert ADMIN.tenant_id is None


async def test_an_alert_keeps_the_texts_of_the_pack_that_it_was_told_by(pool: Pool, api: Api) -> None:
    """The rule is worded anew, then gone: the alert is told as it was, in every language."""
    number = await full_database(pool)
    async with pool.connection() as conn:
        document = default_document().replace("The database of {host} cannot write", "No writes on {host}")
        await store_pack(
            conn, document.replace("Il database di {host} non può", "Su {host} non si può"), "new", "test"
        )
    found = await api.get(f"/v1/alerts/{number}", language="it")
    assert found.json()["summary"] == "Il database di node-1 non può scrivere"


async def test_what_is_not_certain_stays_english(pool: Pool, api: Api) -> None:
    """An alert of an older release, one that others pushed, one whose text was made in another way."""
    number = await full_database(pool)
    for change in ("pack_version = NULL", "pack_version = 1, summary = 'by hand'", "rule_id = 'pushed.x'"):
        async with pool.connection() as conn:
            await conn.execute(f"UPDATE alert SET {change}".encode())
            assert await published.summaries(conn, number) == {}
        shown = (await api.get(f"/v1/alerts/{number}", language="it")).json()
        assert (shown["language"], shown["runbook"]) == ("en", None)


async def test_a_pack_that_this_release_cannot_read_is_told_in_english(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """A newer release's pack: said in the log, not an error."""
    number = await full_database(pool)
    async with pool.connection() as conn:
        await conn.execute("UPDATE rule_pack SET document = 'version: 9', digest = '\\x00'")
        assert await told.told(conn, [number]) == {}
    assert "cannot be read by this release" in caplog.text


VALUED = """
version: 1
name: valued
rules:
  - id: cpu
    name: CPU
    component: host
    rationale: r
    runbook: {en: "look at {value}", it: "guarda {value}"}
    summary: {en: "CPU of {host} at {value}", it: "CPU di {host} al {value}"}
    metric: system.cpu.utilization
    levels:
      - {priority: P2, when: value > 95 %, clear: value < 80 %, clear_for: 2 min}
"""


async def test_the_value_in_a_summary_is_the_alerts_own(pool: Pool) -> None:
    """It follows the transitions that have one, in the unit of the limit; a transition without one (here: it
    becomes stale) leaves the text as it was, in every language."""
    (scope,) = await seed(pool)
    async with pool.connection() as conn:
        await store_pack(conn, VALUED, "valued", "test")
    evaluator = await evaluator_in(pool)

    async def summaries() -> dict[Language, str]:
        async with pool.connection() as conn:
            return await published.summaries(conn, 1)

    await ingest(pool, evaluator, scope, [frame(CPU, START, 0.9712)], START)
    assert await summaries() == {"it": "CPU di node-1 al 97,12%", "en": "CPU of node-1 at 97.12%"}
    later = START + minutes(1)
    await ingest(pool, evaluator, scope, [frame(CPU, later, 0.5)], later)
    assert (await summaries())["en"] == "CPU of node-1 at 50%"
    async with pool.connection() as conn:
        await store_pack(conn, VALUED.replace("id: cpu", "id: other"), "valued", "test")
    much_later = START + minutes(30)
    other = await evaluator_in(pool)
    await ingest(pool, other, scope, [frame(CPU, much_later, 0.5)], much_later)
    ((alert, steps),) = await history(pool)
    assert (steps[-1].to_state, alert.summary) == ("stale", "CPU of node-1 at 50%")
    assert (await summaries())["it"] == "CPU di node-1 al 50%"
