"""Paging policies: whom a step reaches, where it goes next, and what is refused."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncall.policy import (
    Callee,
    Hours,
    PagingPolicy,
    RoleHeld,
    Selector,
    Skipped,
    Step,
    Target,
    When,
    WhoIsOn,
    decide,
    following,
    targets,
)
from oncall.policy_check import Allowances, contract_faults, reaches, refusals
from oncall.rota_file import parse
from oncall.rota_terms import windows

NOON, NIGHT = datetime(2026, 1, 7, 12, tzinfo=UTC), datetime(2026, 1, 7, 23, tzinfo=UTC)
HOURS = Hours("Europe/Rome", windows("mon-fri 09:00-18:00"))
ON_CALL = Selector("schedule", "primary")


def callee(key: str, *roles: str, languages: tuple[str, ...] = ("en",), **more: object) -> Callee:
    return Callee(key, "Europe/Rome", languages, tuple(RoleHeld(r) for r in roles), **more)  # type: ignore[arg-type]


PEOPLE = {
    one.key: one
    for one in (
        callee("anna"),
        callee("bruno", quiet=windows("22:00-07:00")),
        callee("pierre", languages=("fr",)),
        callee("rita", "rnd"),
        callee("mute", transports=frozenset({"email"})),
        Callee("omar", roles=(RoleHeld("manager", "middle-east"),)),
        Callee("boss", roles=(RoleHeld("manager"),)),
    )
}


def ladder(*steps: Step, hours: Hours | None = HOURS) -> PagingPolicy:
    return PagingPolicy("p", steps, 2, hours)


def step(*who: Selector, how: tuple = ("voice",), wait_s: int = 300, when: When = When.ALWAYS) -> Step:
    return Step(who, how, wait_s, 40, when)


def reached(policy: PagingPolicy, *on: str, now: datetime = NIGHT) -> list[tuple[str, str]]:
    found = targets(policy, 0, 1, WhoIsOn({"primary": on}, PEOPLE), now)
    return [(one.person_key, one.transport) for one in found]


def skipped(policy: PagingPolicy, *on: str, now: datetime = NIGHT) -> list[str]:
    found = decide(policy, 0, 1, WhoIsOn({"primary": on}, PEOPLE), now).skipped
    return [one.reason for one in found]


def test_everybody_on_call_is_reached_over_each_transport_in_order():
    """Two people, two transports: four targets, person by person."""
    policy = ladder(step(ON_CALL, how=("voice", "sms")))
    assert reached(policy, "anna", "omar") == [
        ("anna", "voice"),
        ("anna", "sms"),
        ("omar", "voice"),
        ("omar", "sms"),
    ]
    assert targets(policy, 0, 1, WhoIsOn({"primary": ("anna",)}, PEOPLE), NIGHT)[0] == Target(
        "anna", "voice", 40
    )


def test_a_person_named_twice_is_reached_once():
    """On call and named as a person: one call."""
    assert reached(ladder(step(ON_CALL, Selector("person", "anna"))), "anna") == [("anna", "voice")]


def test_roles_are_held_for_a_theatre_or_for_all():
    """A manager of the Middle East is not Europe's; one for all theatres is everybody's."""
    assert reached(ladder(step(Selector("role", "manager", "europe")))) == [("boss", "voice")]
    assert reached(ladder(step(Selector("role", "manager")))) == [("boss", "voice"), ("omar", "voice")]


def test_quiet_hours_hold_back_what_does_not_ring():
    """At night Bruno's phone rings, his SMS waits; at noon he gets both."""
    policy = ladder(step(ON_CALL, how=("voice", "sms")))
    assert reached(policy, "bruno") == [("bruno", "voice")]
    assert skipped(policy, "bruno") == ["sms is held back in this person's quiet hours"]
    assert len(reached(policy, "bruno", now=NOON)) == 2


def test_only_english_and_no_research_out_of_hours():
    """The contract's gates hold however a person came onto the step."""
    policy = ladder(step(ON_CALL))
    assert skipped(policy, "pierre") == ["does not speak 'en', the language of on-call"]
    assert skipped(policy, "rita") == ["R&D is not available out of hours"]
    assert reached(policy, "rita", now=NOON) == [("rita", "voice")]


def test_nobody_is_passed_over_without_a_reason():
    """Unknown people, missing addresses, empty schedules and closed gates each say so."""
    assert skipped(ladder(step(ON_CALL)), "ghost", "mute") == [
        "not an active person",
        "has no address for voice",
    ]
    assert decide(ladder(step(ON_CALL)), 0, 1, WhoIsOn({}, PEOPLE), NIGHT).skipped == (
        Skipped("schedule primary", None, "nobody is on call for it"),
    )
    (closed,) = skipped(ladder(step(ON_CALL, when=When.IN_HOURS)), "anna")
    assert "out of hours" in closed
    assert reached(ladder(step(ON_CALL, when=When.OUT_OF_HOURS)), "anna", now=NOON) == []


@given(st.integers(1, 5), st.integers(1, 4), st.lists(st.booleans(), min_size=1, max_size=60))
def test_the_ladder_never_ends_and_never_spins(steps, rounds, outcomes):
    """Whatever is reached, there is a next place, a round takes time, alarms follow the last round."""
    policy = PagingPolicy("p", tuple(step(ON_CALL) for _ in range(steps)), rounds)
    at, round, waited = 0, 1, 0
    for reached in outcomes:
        place = following(policy, at, round, reached=reached)
        waited += place.wait_s
        if place.step == 0:
            assert place.round == round + 1
            assert waited > 0
            assert place.alarm == (round >= rounds)
            waited = 0
        at, round = place.step, place.round


def test_a_policy_that_keeps_the_limit_is_accepted_to_the_second():
    """60 s + 3 x 300 s + 30 s + 40 s + 60 s = 18:10: good below 18:11, refused at 18:10 exactly ("<")."""
    policy = ladder(step(ON_CALL), step(ON_CALL), step(ON_CALL), step(ON_CALL), hours=None)
    assert [one.worst_s for one in reaches(policy, 3600)] == [1090]
    assert refusals(policy, 1091) == []
    (refusal,) = refusals(policy, 1090)
    assert "the worst case is 18:10 and must be less than 18:10: 00:01 too long" in refusal


def test_a_refusal_writes_out_its_arithmetic():
    """Thirteen steps of five minutes cannot reach the last person within an hour; it all adds up."""
    policy = ladder(*(step(ON_CALL) for _ in range(13)), hours=None)
    (refusal,) = refusals(policy, 3600)
    lines = refusal.splitlines()
    assert lines[0].startswith(
        "policy p, out of hours: the worst case is 63:10 and must be less than 60:00: 03:11"
    )
    assert lines[1:3] == [
        "  01:00  until the first call leaves",
        "  01:00  step 1: schedule primary by voice, rings 40 s, then waits until 300 s are over",
    ]
    assert lines[14].startswith("  61:00  step 13:")
    assert lines[15].startswith("  63:10  the last one picks up at the last ring")


def test_each_state_of_the_gates_is_checked():
    """Good in hours, but out of hours nothing rings: refused for that state alone."""
    policy = ladder(step(ON_CALL, when=When.IN_HOURS), step(ON_CALL, how=("email",)))
    (refusal,) = refusals(policy, 3600)
    assert refusal.startswith("policy p, out of hours: no step rings anybody, so nobody is reached")


def test_the_allowances_are_part_of_the_sum():
    """Slower failover counts against the policy."""
    policy = ladder(step(ON_CALL), hours=None)
    assert reaches(policy, 3600, Allowances(120, 60, 90))[0].worst_s == 120 + 60 + 40 + 90


def test_research_needs_working_hours():
    """A step that rings R&D at any hour contradicts the contract."""
    rnd = Selector("role", "rnd")
    assert contract_faults(ladder(step(rnd))) == [
        (0, "R&D is not available out of hours: this step needs 'when: in_hours'")
    ]
    assert contract_faults(ladder(step(rnd, when=When.IN_HOURS))) == []


@pytest.mark.parametrize("minutes", [19, 60])
def test_the_example_policy_against_the_contract(minutes):
    """The shipped example reaches its last person in 23:10 in hours, 18:10 out of hours."""
    text = (Path(__file__).parent / "rota_files" / "three-theatres.yaml").read_text()
    policy = parse(text).policies["platinum-p1"]
    assert {r.state: r.worst_s for r in reaches(policy, 3600)} == {"in hours": 1390, "out of hours": 1090}
    assert bool(refusals(policy, minutes * 60)) == (minutes == 19)
