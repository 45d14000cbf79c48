"""Rules on the states of other rules' alerts: what is known, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import product
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting import condition as cond
from alerting.compound import Remembered, dump, load
from alerting.compound_pack import in_order
from alerting.errors import PackError, StateError
from alerting.evaluate import Evaluator, HostScope
from alerting.inputs import to_ms
from alerting.override import parse_patch, patched
from alerting.pack import parse_pack
from alerting.rule import Compound, Measured, Scope, Wanted
from alerting.ruletext import level_text
from alerting.simulation import SimulatedSite
from alerting.words import Hearing, Word, combined
from tests.alerting.kit import CPU, START, event, frame, minutes

RULES = parse_pack(
    (Path(__file__).parent / "operators" / "states.rules.yaml").read_text(encoding="utf-8")
).rules
HOSTS = [HostScope(1, "acme", 1, "site", number, f"node-{number}") for number in (1, 2, 3)]


class Deployment:
    """Hosts in memory that send the CPU of each minute."""

    def __init__(self, rules: object = RULES, hosts: int = 2) -> None:
        self.site = SimulatedSite(Evaluator(1, rules), HOSTS[:hosts])  # type: ignore[arg-type]
        self.minute = 0

    @property
    def now(self) -> datetime:
        return START + minutes(self.minute)

    def run(self, *values: tuple[float | str | None, ...]) -> None:
        """One minute per tuple; per host its CPU, None for not measured, '' for nothing sent."""
        for row in values:
            for host, value in zip(self.site.hosts, row, strict=True):
                if not isinstance(value, str):
                    host.feed([frame(CPU, self.now, value)], self.now)
            self.site.round(self.now)
            self.minute += 1

    def story(self, rule: str = "site.busy") -> list[str]:
        return [
            f"{(h.at - START).total_seconds() / 60:g} {h.to_state} P{h.priority}"
            for h in self.site.history
            if h.rule_id == rule
        ]

    def reasons(self) -> list[str]:
        return [h.reason for h in self.site.history]


def test_a_reason_names_the_hosts() -> None:
    """Who reads it need not look up which hosts were meant, nor which were unknown."""
    site = Deployment(hosts=3)
    site.run((0.99, 0.99, ""), (0.99, 0.99, ""), (0.99, 0.1, ""))
    assert site.reasons() == [
        "'CPU' (cpu) fires on 2 of 2 hosts (node-1, node-2) since 14:00:00Z",
        "'CPU' (cpu) fires on 1 of 2 hosts (node-1): recovered",
    ]


def test_what_is_not_known_is_named_too() -> None:
    """A host that fell silent stands in the evidence as unknown; two of three known are enough for 'two'."""
    site = Deployment(hosts=3)
    site.run((0.99, 0.99, 0.1), *[(0.99, 0.99, "")] * 6)
    hearing = Hearing(site.site.evaluator, site.site._site(to_ms(site.now)), 300, {})
    found = hearing.truth(Wanted("cpu", Scope.SOME, 2), None)
    assert found == (True, "'CPU' (cpu) fires on 2 of 3 hosts (node-1, node-2), unknown on 1 (node-3)")


def test_a_host_that_falls_silent_neither_opens_nor_clears() -> None:
    """Both busy: P1. One is not heard any more and no longer fresh: still P1, however long. It is heard and
    well again: over. (Twin: with a stale track counted as 'no', it was over at minute 6.)"""
    site = Deployment()
    site.run((0.99, 0.99), *[(0.99, "")] * 60)
    assert site.story() == ["0 firing P1"]
    site.run((0.99, 0.1))
    assert site.story() == ["0 firing P1", "61 resolved P1"]


def test_a_series_that_is_not_measured_is_no_evidence() -> None:
    """NULLs keep the alert of the host open, but after ``fresh`` nobody knows."""
    site = Deployment()
    site.run((0.99, 0.1), *[(None, 0.1)] * 10, (None, 0.99))
    assert site.story() == []
    site.run((0.99, 0.99))
    assert site.story() == ["12 firing P1"]


def test_a_healthy_value_that_is_no_longer_measured_is_no_evidence_either() -> None:
    """One host is well, then its value is missing for longer than ``fresh`` while it reports: whether every
    host is busy is not known any more, and nothing opens; measured again, it counts."""
    rule = next(r for r in RULES if r.id == "site.busy")
    site = Deployment(tuple(r for r in RULES if isinstance(r.source, Measured) or r is rule), hosts=3)
    site.run((0.1, 0.1, 0.1), *[(0.1, 0.1, None)] * 10, (0.99, 0.99, None))
    assert site.story() == []
    site.run((0.99, 0.99, 0.1))
    assert site.story() == ["12 firing P2"]


def test_rounds_that_did_not_take_place_restart_the_timers() -> None:
    """The sweep stood still for ten minutes in the middle of ``for``: it does not count as held."""
    rules = tuple(_with_for(rule, 300.0) for rule in RULES)
    site = Deployment(rules)
    site.run((0.99, 0.99), (0.99, 0.99))
    site.minute += 10
    site.run(*[(0.99, 0.99)] * 6)
    assert site.story() == ["1 pending P1", "17 firing P1"]


def _with_for(rule: object, seconds: float) -> object:
    source = rule.source  # type: ignore[attr-defined]
    if not isinstance(source, Compound):
        return rule
    levels = tuple(msgspec.structs.replace(level, for_s=seconds) for level in source.levels)
    return msgspec.structs.replace(rule, source=msgspec.structs.replace(source, levels=levels))  # type: ignore[type-var]


def test_an_alert_that_nobody_knows_of_for_a_day_is_stale() -> None:
    """Neither host is heard: after a day the alert says so, once."""
    site = Deployment()
    site.run((0.99, 0.99), *[("", "")] * 1500)
    assert site.story() == ["0 firing P1", "1446 stale P1"]
    assert site.reasons()[-1] == "None of the states that it looks at has been known for a day."


def test_a_rule_that_is_gone_leaves_no_open_alert() -> None:
    """The pack in force no longer has it: stale, with that reason."""
    site = Deployment()
    site.run((0.99, 0.99))
    site.site.evaluator = Evaluator(2, [r for r in RULES if isinstance(r.source, Measured)])
    site.site.evaluator.compounds = tuple(r for r in RULES if r.id == "host.both")
    site.run((0.99, 0.99))
    assert site.story() == ["0 firing P1", "1 stale P1"]


def test_a_rule_that_raised_of_late_makes_nothing_known() -> None:
    """Its healthy hosts may be so because it no longer judges; what it found while it worked stays."""
    site = Deployment()
    site.run((0.1, 0.99))
    site.site.hosts[0].failing["cpu"] = "ValueError"
    site.run((0.1, 0.99))
    hearing = Hearing(site.site.evaluator, site.site._site(to_ms(site.now)), 300, {})
    wanted = Wanted("cpu", Scope.EVERY)
    assert hearing.truth(wanted, None).value is None
    assert hearing.truth(Wanted("cpu", Scope.SOME), None).value is True


def test_events_and_silence_count_as_far_as_hosts_are_heard() -> None:
    """An event rule says 'no' only of a host that is heard; a silence is our own finding, while our door is
    open."""
    site = Deployment()
    site.run((0.1, 0.1))
    site.site.hosts[0].feed([event(site.now, "x", "7031")], site.now)
    found = site.site._site(to_ms(site.now))
    crash, silent = Wanted("crash", Scope.EVERY), Wanted("silent", Scope.SOME)
    assert Hearing(site.site.evaluator, found, 300, {}).truth(crash, None).value is False
    later = msgspec.structs.replace(found, now=found.now + 360_000)
    assert Hearing(site.site.evaluator, later, 300, {}).truth(crash, None).value is None
    assert Hearing(site.site.evaluator, found, 300, {}).truth(silent, None).value is False
    assert Hearing(site.site.evaluator, later, 300, {}).truth(silent, None).value is None  # held back
    closed = msgspec.structs.replace(found, opened=None)
    assert Hearing(site.site.evaluator, closed, 300, {}).truth(silent, None).value is None


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "wanted", [Wanted("r", Scope.EVERY), *(Wanted("r", Scope.SOME, n) for n in (1, 2, 3))]
)
def test_unknown_is_what_could_be_either(count: int, wanted: Wanted) -> None:
    """For any words of up to four hosts: known exactly when every way to fill in what is unknown agrees."""
    for words in product(Word, repeat=count):
        unknowns = words.count(Word.UNKNOWN)
        known = [w for w in words if w is not Word.UNKNOWN]
        ways = {_plain([*known, *fill], wanted) for fill in product((Word.YES, Word.NO), repeat=unknowns)}
        expected = ways.pop() if len(ways) == 1 else None
        assert combined(words, wanted) is expected, words


def _plain(words: list[Word], wanted: Wanted) -> bool | None:
    """With every word known."""
    part = [w for w in words if w is not Word.ABSENT]
    if not part:
        return None
    yes = sum(w is Word.YES for w in part)
    return yes == len(part) if wanted.scope is Scope.EVERY else yes >= wanted.least


@st.composite
def conditions(draw: st.DrawFn, depth: int = 2) -> str:
    if depth and draw(st.booleans()):
        joiner = draw(st.sampled_from([" and ", " or "]))
        parts = [f"({draw(conditions(depth - 1))})" for _ in range(draw(st.integers(2, 3)))]
        return joiner.join(parts)
    return draw(st.sampled_from(["a", "b", "c", "not a", "not b", "not c"]))


@given(conditions(), st.tuples(*[st.sampled_from([0.0, 1.0, None])] * 3))
def test_a_condition_is_never_surer_than_its_states(
    text: str, given_values: tuple[float | None, ...]
) -> None:
    """What holds (or does not) with unknown states holds however they turn out; and it is read back as
    written."""
    parsed = cond.parse_states(text)
    values = dict(zip("abc", given_values, strict=True))
    found = cond.holds(parsed, values)
    if found is not None:
        for filled in _filled(values):
            assert cond.holds(parsed, filled) is found
    assert cond.holds(cond.parse_states(cond.written(parsed)), values) is found


def _filled(values: dict[str, float | None]) -> Iterator[dict[str, float]]:
    choices = [(0.0, 1.0) if v is None else (v,) for v in values.values()]
    yield from (dict(zip(values, found, strict=True)) for found in product(*choices))


MINUTE = st.tuples(*[st.sampled_from([0.1, 0.9, 0.99, None, ""])] * 2)


@settings(max_examples=60, deadline=None)
@given(st.lists(MINUTE, min_size=1, max_size=25), st.integers(0, 4))
def test_a_restart_at_any_point_changes_nothing(
    rows: list[tuple[float | str | None, ...]], seconds: int
) -> None:
    """With all memory written and read back after every round, the story is the same."""
    rules = tuple(_with_for(rule, seconds * 60.0) for rule in RULES)
    straight, restarted = Deployment(rules), Deployment(rules)
    for row in rows:
        straight.run(row)
        restarted.run(row)
        restarted.site.memory = load(dump(restarted.site.memory))
        restarted.site.evaluator = Evaluator(1, rules)  # type: ignore[arg-type]
        for host in restarted.site.hosts:
            host.evaluator = restarted.site.evaluator
            host.evaluator.plan(host.scope, frame(CPU, START).layout_digest, CPU)
    assert restarted.site.history == straight.site.history


@settings(max_examples=60, deadline=None)
@given(st.lists(MINUTE, min_size=1, max_size=40))
def test_unknown_never_opens_nor_clears(rows: list[tuple[float | str | None, ...]]) -> None:
    """Whenever the alert begins to fire its condition is known to hold, and when it ends its clear condition
    is; while both are unknown nothing happens."""
    site = Deployment()
    rule = next(r for r in RULES if r.id == "site.busy")
    assert isinstance(rule.source, Compound)
    for row in rows:
        before = len(site.story())
        site.run(row)
        now = to_ms(START + minutes(site.minute - 1))
        hearing = Hearing(site.site.evaluator, site.site._site(now), rule.source.fresh_s, {})
        values = {
            name: None if (t := hearing.truth(w, None)).value is None else float(t.value)
            for name, w in rule.source.states
        }
        when = [cond.holds(level.when, values) for level in rule.source.levels]
        clear = [cond.holds(level.clear, values) for level in rule.source.levels]
        for change in site.story()[before:]:
            told = change.split()[1]
            assert told != "firing" or True in (*when, *clear), (row, values)
            assert told != "resolved" or True in clear, (row, values)
        if not any(known is not None for known in (*when, *clear)):
            assert len(site.story()) == before


def test_memory_of_another_release_is_not_misread() -> None:
    """A later version, or rubbish, is an error, not an empty memory taken for true."""
    assert load(None) == Remembered()
    for blob in (msgspec.msgpack.encode([9, []]), b"\xff"):
        with pytest.raises(StateError):
            load(blob)


def test_rules_come_after_those_that_they_look_at() -> None:
    """However they stand in the pack, and however long the chain."""
    assert [r.id for r in in_order(tuple(reversed(RULES)))][-1] == "site.crash"
    head = "version: 1\nname: chain\nrules:\n"
    text = "  - {{id: r{n}, name: R, component: c, rationale: r, runbook: r, summary: s, {source}}}\n"
    first = text.format(n=0, source="metric: m, levels: [{priority: P1, when: value > 1}]")
    rest = (
        text.format(
            n=n,
            source=f"alerts: {{of: host, fresh: 60 s, states: {{x: {{rule: r{n - 1}}}}}}}, "
            "levels: [{priority: P1, when: x}]",
        )
        for n in range(1, 1900)
    )
    rules = parse_pack(head + "".join([*rest, first])).rules
    assert [r.id for r in in_order(rules)] == [f"r{n}" for n in range(1, 1900)]


def test_an_override_changes_levels_of_such_a_rule() -> None:
    """``when`` and durations for one customer; samples and comparisons are refused as in a pack."""
    rule = next(r for r in RULES if r.id == "site.busy")
    patch = parse_patch(
        "{rule: site.busy, reason: r, levels: {P1: {for: 4 min, clear: not two}, P2: off}}", RULES
    )
    (level,) = patched(rule, [patch]).source.levels
    assert level_text(rule, level) == "all and two for 4 min; over when not two"
    for wrong in ("for: 3 samples", "when: all > 1", "when: not all", "clear: nobody"):
        with pytest.raises(PackError):
            parse_patch(f"{{rule: site.busy, reason: r, levels: {{P1: {{{wrong}}}}}}}", RULES)
