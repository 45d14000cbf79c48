"""The judge: how alerts live, frame by frame, without a database."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.evaluate import Evaluator, EventInput, FrameInput
from alerting.inputs import HostState, to_ms
from alerting.pack import default_document, parse_pack
from alerting.state import dump, load
from tests.alerting.kit import CPU, START, Host, evaluator_of, event, frame, layout_of, minutes

HEAD = """
version: 1
name: test
rules:
"""
RULE = """
  - id: {id}
    name: {id}
    component: host
    rationale: because
    runbook: look
    summary: "{id} on {{host}}"
"""
ONE = (
    HEAD
    + RULE.format(id="cpu")
    + """
    metric: system.cpu.utilization
    levels:
      - {priority: P2, when: value > 95 %, for: 10 min, clear: value < 80 %, clear_for: 5 min}
"""
)
DEFAULT = Evaluator(1, parse_pack(default_document()).rules)
sample = st.one_of(st.none(), st.sampled_from([0.1, 0.76, 0.82, 0.9, 0.97]))


def cpu(host: Host, *values: float | None, start: float = 0.0) -> None:
    """One frame a minute."""
    for number, value in enumerate(values):
        host.feed(frame(CPU, START + minutes(start + number), value))


def test_one_sample_over_the_limit_is_not_yet_news() -> None:
    """A pending alert gets its row with the second sample; then its end is told too."""
    host = Host(evaluator_of(ONE))
    cpu(host, 0.1, 0.97, 0.1, 0.97, 0.97, 0.1)
    assert host.story == ["4 pending P2", "5 resolved P2"]


def test_a_gap_of_more_than_three_intervals_restarts_the_timers() -> None:
    """Nine minutes, four minutes nothing, nine minutes: never ten in a row."""
    host = Host(evaluator_of(ONE))
    cpu(host, *[0.97] * 9)
    cpu(host, *[0.97] * 10, start=13)
    assert "firing" not in "".join(host.story)
    cpu(host, 0.97, start=23)
    assert host.story[-1] == "23 firing P2"


def test_a_gap_of_three_intervals_is_no_gap() -> None:
    """Three minutes between two samples still count as in a row."""
    host = Host(evaluator_of(ONE))
    cpu(host, *[0.97] * 6)
    cpu(host, *[0.97] * 3, start=8)
    assert host.story[-1] == "10 firing P2"


def test_a_gap_while_it_fires_undoes_nothing() -> None:
    """Firing goes on after an hour of nothing; only the clear timer starts again."""
    host = Host(evaluator_of(ONE))
    cpu(host, *[0.97] * 11, 0.7, 0.7, 0.7)
    cpu(host, *[0.7] * 6, start=75)
    assert host.story == ["1 pending P2", "10 firing P2", "11 recovering P2", "80 resolved P2"]


TWO = """
version: 1
name: two
rules:
  - id: two
    name: Two values
    component: host
    rationale: r
    runbook: r
    summary: s
    terms: {used: {metric: u}, free: {metric: f}}
    levels:
      - priority: P2
        when: used > 95 or free < 5
        for: 10 min
        clear: used < 80 and free > 10
        clear_for: 5 min
"""


def test_a_stretch_in_which_a_condition_is_unknown_does_not_count_as_held() -> None:
    """One of two values is missing for an hour, the other is measured on: what the condition was meanwhile is
    not known, so neither 'for' nor 'clear_for' runs on through it. (Seen failing: two samples an hour apart
    fired.)"""
    layout = layout_of("u", "f")
    host = Host(evaluator_of(TWO))
    values = [(97.0, 100.0)] * 2 + [(None, 100.0)] * 60 + [(97.0, 100.0)] * 11
    values += [(50.0, 100.0)] * 2 + [(None, 100.0)] * 60 + [(50.0, 100.0)] * 6
    for minute, pair in enumerate(values):
        host.feed(frame(layout, START + minutes(minute), *pair))
    assert host.story == ["1 pending P2", "72 firing P2", "73 recovering P2", "140 resolved P2"]


def test_an_alert_that_goes_on_by_another_level_began_when_it_began() -> None:
    """The P1 gives way to a P2 that is still waiting: the alert is the same, since the same minute. (Seen
    failing: it was said to have begun after it had fired.)"""
    rule = TWO.replace("priority: P2", "priority: P1").replace("used > 95 or free < 5", "used > 95")
    rule = rule.replace("for: 10 min", "for: 1 min").replace("used < 80 and free > 10", "used < 80")
    host = Host(
        evaluator_of(rule + "      - {priority: P2, when: free < 5, for: 20 min, clear: free > 10}\n")
    )
    pairs = [(97.0, 100.0)] * 5 + [(10.0, 3.0)] * 9 + [(10.0, 100.0)]
    for minute, pair in enumerate(pairs):
        host.feed(frame(layout_of("u", "f"), START + minutes(minute), *pair))
    last = host.outcomes[-1].alerts[-1]
    assert host.story[-1].split()[1] == "resolved"
    assert (last.since_ms, last.fired_ms) == (to_ms(START), to_ms(START + minutes(1)))


def test_a_relapse_while_recovering_fires_again() -> None:
    """The clear condition must hold without a break."""
    host = Host(evaluator_of(ONE))
    cpu(host, *[0.97] * 11, 0.7, 0.7, 0.9, 0.7)
    assert host.story[2:] == ["11 recovering P2", "13 firing P2", "14 recovering P2"]


def test_an_alert_that_comes_and_goes_must_end_believably() -> None:
    """Fired three times within an hour, its end is believed only after 15 minutes; an hour later it is as any
    other. Nothing of it is muted."""
    rule = ONE.replace("for: 10 min", "for: 1 min").replace("clear_for: 5 min", "clear_for: 1 min")
    host = Host(evaluator_of(rule))
    cpu(host, *([0.97] * 3 + [0.1] * 3) * 3)
    cpu(host, *[0.1] * 20, start=18)
    assert [s for s in host.story if "resolved" in s] == ["4 resolved P2", "10 resolved P2", "30 resolved P2"]
    assert host.outcomes[15].alerts[0].change.reason.endswith("recovering, must hold for 15 min")
    cpu(host, *[0.1] * 60, *[0.97] * 3, *[0.1] * 3, start=38)
    assert host.story[-1] == "102 resolved P2"
    assert len(host.state.memory.recent) == 1
    cpu(host, *[0.1] * 70, start=104)
    assert host.state.memory.recent == {}


def test_how_late_data_comes_and_in_how_many_batches_changes_no_conclusion() -> None:
    """Frames of an hour, received two hours later one by one, come to what they come to in one batch: also
    that the alert comes and goes. (Seen failing while that was remembered by time of receipt.)"""
    values = [0.97] * 11 + ([0.1] * 6 + [0.97] * 11) * 3 + [0.1] * 6
    frames = [frame(CPU, START + minutes(n), value) for n, value in enumerate(values)]
    whole, parts = (Host(evaluator_of(ONE)) for _ in range(2))
    whole.feed(*frames, received_at=START + minutes(180))
    for one in frames:
        parts.feed(one, received_at=START + minutes(180))
    assert parts.story == whole.story
    assert parts.outcomes[-6].alerts[0].change.reason.endswith("recovering, must hold for 15 min")


def test_late_frames_are_marked_and_change_nothing() -> None:
    """A frame before its layout's newest is stored for replay, not judged (broken twin: judge it; then the
    breaches of before a healthy frame make a false 'for')."""
    host = Host(evaluator_of(ONE))
    cpu(host, 0.1, start=10)
    outcome = host.feed(frame(CPU, START + minutes(2), 0.97), received_at=START + minutes(11))
    assert outcome.late == (0,)
    assert outcome.alerts == ()
    assert outcome.state.frontier == START + minutes(10)


def test_each_layout_has_its_own_frontier() -> None:
    """A slower layout's frame is not late because a faster one's was newer."""
    slow = layout_of("system.memory.utilization", interval_s=300)
    host = Host(evaluator_of(ONE))
    host.feed(frame(CPU, START, 0.1), frame(slow, START, 0.5))
    cpu(host, 0.1, start=6)
    outcome = host.feed(frame(slow, START + minutes(5), 0.5), received_at=START + minutes(6))
    assert outcome.late == ()


def test_the_frontier_never_passes_the_collectors_time() -> None:
    """A clock that runs ahead cannot push judged time into our future."""
    host = Host(evaluator_of(ONE))
    outcome = host.feed(frame(CPU, START + minutes(9), 0.1), received_at=START)
    assert outcome.state.frontier == START


def test_a_series_gone_from_the_layout_is_stale_and_says_so() -> None:
    """A volume that was unplugged while its alert fired: nobody knows, and the alert says that."""
    two = layout_of("system.cpu.utilization", ("system.memory.utilization", {}))
    host = Host(evaluator_of(ONE))
    cpu(host, *[0.97] * 11)
    rest = layout_of("system.memory.utilization")
    for minute in range(11, 22):
        host.feed(frame(rest, START + minutes(minute), 0.5))
    last = host.outcomes[-1].alerts[-1].change
    assert (host.story[-1], last.reason) == (
        "21 stale P2",
        "Its series left the host's layout 11 min ago; whether the problem persists is unknown.",
    )
    assert host.state.memory.tracks == {}
    assert two != rest


def test_a_rule_taken_out_of_force_ends_its_alerts() -> None:
    """The next frame of the host tells that nobody checks it any more."""
    host = Host(evaluator_of(ONE))
    cpu(host, *[0.97] * 11)
    host.evaluator = evaluator_of(ONE.replace("id: cpu", "id: other"))
    cpu(host, 0.97, start=11)
    assert host.story[-1] == "11 stale P2"
    assert host.outcomes[-1].alerts[0].change.reason.startswith("The rule is no longer in force")


def test_reloading_the_same_rules_keeps_their_state() -> None:
    """A new version with this rule unchanged goes on where the old one was."""
    host = Host(evaluator_of(ONE))
    cpu(host, *[0.97] * 6)
    host.evaluator = Evaluator(2, parse_pack(ONE.replace("runbook: look", "runbook: look again")).rules)
    cpu(host, *[0.97] * 5, start=6)
    assert host.story == ["1 pending P2", "10 firing P2"]


def test_a_changed_rule_keeps_what_fires_and_starts_timers_again() -> None:
    """The alert fires on under the new limits until they clear; a pending one begins anew."""
    changed = ONE.replace("95 %", "96 %")
    firing = Host(evaluator_of(ONE))
    cpu(firing, *[0.97] * 11)
    firing.evaluator = evaluator_of(changed)
    cpu(firing, *[0.97] * 3, *[0.1] * 6, start=11)
    assert firing.story[1:] == ["10 firing P2", "14 recovering P2", "19 resolved P2"]
    pending = Host(evaluator_of(ONE))
    cpu(pending, *[0.97] * 6)
    pending.evaluator = evaluator_of(changed)
    cpu(pending, *[0.97] * 11, start=6)
    assert pending.story[-1] == "16 firing P2"


def test_events_in_any_order_count_the_same() -> None:
    """Three crashes within the window fire, whichever arrived first."""
    times = (0, 10, 20)
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        host = Host(DEFAULT)
        inputs = [event(START + minutes(times[i]), "Service Control Manager", "7031") for i in order]
        host.feed(*inputs, received_at=START + minutes(21))
        assert [a.change.priority for a in host.outcomes[-1].alerts] == [2]


def test_an_event_that_was_over_before_we_heard_of_it_is_late() -> None:
    """Error 1105 of three hours ago opens nothing."""
    host = Host(DEFAULT)
    outcome = host.feed(event(START, "MSSQLSERVER", "1105"), received_at=START + minutes(180))
    assert (outcome.alerts, outcome.late) == ((), (0,))


def test_an_events_text_cannot_break_storage() -> None:
    """NUL characters and line breaks in what an event says do not reach a reason."""
    host = Host(DEFAULT)
    outcome = host.feed(event(START, "MSSQLSERVER", "1105", "a\0b\nc" * 100))
    reason = outcome.alerts[0].change.reason
    assert "\0" not in reason
    assert "\n" not in reason
    assert len(reason) < 250


def test_a_healthy_series_leaves_no_state() -> None:
    """What is stored of a healthy host does not depend on how many series and rules it has."""
    host = Host(DEFAULT)
    many = layout_of(*[("process.cpu.utilization", {"process.executable.name": f"p{i}"}) for i in range(200)])
    host.feed(frame(many, START, *[0.1] * 200))
    blob = dump(host.state.memory)
    assert blob is not None
    assert len(blob) < 32


def test_the_size_of_state_does_not_grow_with_time() -> None:
    """An hour of breach, or ten thousand events, take no more room than the first minutes."""
    host = Host(DEFAULT)
    cpu(host, *[0.97] * 5)
    early = len(dump(host.state.memory) or b"")
    cpu(host, *[0.97] * 600, start=5)
    assert len(dump(host.state.memory) or b"") <= early + 16
    crash = [event(START + timedelta(seconds=i), "Service Control Manager", "7031") for i in range(3000)]
    host = Host(DEFAULT)
    host.feed(*crash, received_at=START + timedelta(seconds=3000))
    assert len(dump(host.state.memory) or b"") < 700


@given(st.lists(sample, max_size=40), st.lists(st.booleans(), min_size=40, max_size=40))
@settings(max_examples=60, deadline=None)
def test_a_restart_at_any_frame_changes_nothing(values: list[float | None], restarts: list[bool]) -> None:
    """State that went through its stored form gives the same transitions as state that never left memory."""
    plain, restarted = Host(DEFAULT), Host(DEFAULT)
    for number, value in enumerate(values):
        item = frame(CPU, START + minutes(number), value)
        plain.feed(item)
        restarted.feed(item)
        if restarts[number]:
            memory = load(dump(restarted.state.memory))
            state = restarted.state
            restarted.state = HostState(1, 1, 0, state.frontier, 1, state.last_seen, memory)
            restarted.evaluator = Evaluator(1, DEFAULT.rules)
    assert restarted.outcomes[-1:] == plain.outcomes[-1:] or not values
    assert restarted.story == plain.story


@given(st.lists(sample, max_size=40), st.lists(st.integers(1, 39), max_size=5))
@settings(max_examples=60, deadline=None)
def test_how_frames_are_batched_changes_nothing(values: list[float | None], cuts: list[int]) -> None:
    """Frames one by one, or in batches cut anywhere, lead to the same history (two evaluators agree)."""
    frames: list[FrameInput | EventInput] = [frame(CPU, START + minutes(n), v) for n, v in enumerate(values)]
    single, batched = Host(DEFAULT), Host(Evaluator(1, DEFAULT.rules))
    for item in frames:
        single.feed(item)
    edges = sorted({0, *[c for c in cuts if c < len(frames)], len(frames)})
    for begin, end in pairwise(edges):
        batched.feed(*frames[begin:end], received_at=START + minutes(end - 1))
    assert batched.story == single.story
    assert batched.state.memory == single.state.memory


@given(st.lists(st.none(), min_size=1, max_size=30))
@settings(max_examples=10, deadline=None)
def test_missing_values_never_fire(values: list[None]) -> None:
    """Whatever number of frames without a value: no track, no alert."""
    host = Host(DEFAULT)
    cpu(host, *values)
    assert host.story == []
    assert host.state.memory.tracks == {}


@given(st.lists(sample, min_size=1, max_size=30), st.integers(1, 15), st.integers(1, 15))
@settings(max_examples=60, deadline=None)
def test_a_longer_for_never_fires_earlier(values: list[float | None], one: int, other: int) -> None:
    """Monotone: if it fires with the longer ``for``, it fired no later with the shorter."""
    short, long = sorted((one, other))

    def fires(duration: int) -> float:
        host = Host(evaluator_of(ONE.replace("for: 10 min", f"for: {duration} min")))
        cpu(host, *values)
        return next((float(s.split()[0]) for s in host.story if "firing" in s), float("inf"))

    assert fires(short) <= fires(long)


@given(st.lists(sample, max_size=60))
@settings(max_examples=60, deadline=None)
def test_a_story_is_always_well_told(values: list[float | None]) -> None:
    """Every transition starts where the one before ended; after an end there is a new beginning."""
    host = Host(DEFAULT)
    cpu(host, *values)
    state = None
    for change in (a.change for o in host.outcomes for a in o.alerts):
        assert change.from_state == state
        state = None if change.to_state in ("resolved", "stale") else change.to_state
    assert (state is not None) == any(t.told.state for t in host.state.memory.tracks.values())


@pytest.mark.parametrize("width", [1, 3])
def test_a_frame_of_another_width_than_its_layout_is_not_judged(width: int) -> None:
    """Validation refuses such frames; if one came through, it would be left aside, not crash the commit."""
    two = layout_of("system.cpu.utilization", "system.memory.utilization")
    assert Host(DEFAULT).feed(frame(two, START, *[0.97] * width)).late == (0,)


NEWER = (
    ONE
    + RULE.format(id="memory")
    + """
    metric: system.memory.utilization
    levels:
      - {priority: P1, when: value > 90 %, for: 5 min, clear: value < 80 %, clear_for: 2 min}
"""
    + RULE.format(id="crash")
    + """
    event: {id: "7031", window: 30 min, quiet: 3 min}
    levels:
      - {priority: P2, count: 1}
"""
)
WHOLE = layout_of("system.cpu.utilization", "system.memory.utilization", interval_s=60)


def test_a_collector_that_cannot_read_the_newest_pack_leaves_alone_what_only_others_judge() -> None:
    """A host's batches go to a newer collector and an older one by turns: the newer one's rules fire and end
    as without the older one, for frames and events. Where a rule is known to be gone, its alert ends.

    (Seen failing: the older one ended each time, as stale, what the newer one had begun; it never fired.)"""
    newer, older = evaluator_of(NEWER), Evaluator(1, parse_pack(ONE).rules, stands_in=True)
    alone, mixed = Host(newer), Host(newer)
    for host, turns in ((alone, (newer, newer)), (mixed, (newer, older))):
        host.feed(event(START, "Service Control Manager", "7031"))
        for minute in range(1, 31):
            host.evaluator = turns[minute % 2]
            host.feed(frame(WHOLE, START + minutes(minute), 0.97, 0.95 if minute < 20 else 0.1))
    told = [line for line in alone.story if line.endswith("P1")]
    assert [line.split()[1] for line in told] == ["pending", "firing", "recovering", "resolved"]
    assert _states(mixed, "P1") == _states(alone, "P1")
    assert sorted(_states(mixed, "P2")) == sorted(_states(alone, "P2"))

    mixed.feed(frame(WHOLE, START + minutes(31), 0.97, 0.95), frame(WHOLE, START + minutes(32), 0.97, 0.95))
    mixed.evaluator = Evaluator(2, parse_pack(ONE).rules)
    mixed.feed(frame(WHOLE, START + minutes(33), 0.97, 0.95))
    assert mixed.story[-1] == "33 stale P1"


def _states(host: Host, priority: str) -> list[str]:
    return [line.split()[1] for line in host.story if line.endswith(priority)]
