"""What is refused of strangers' calendars, whoever reads them, and the process that reads them apart."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgspec
import pytest

from wire.ical import MAX_BYTES, ReadingStopped, RuleFault, cut_off, out_of_bounds, read_apart, rule_faults


class Answer(msgspec.Struct):
    """What the process should say."""

    word: str = ""


@pytest.mark.parametrize(
    ("event", "faults"),
    [
        ({}, []),
        ({"RRULE": {"FREQ": ["weekly"], "INTERVAL": [1000]}}, []),
        ({"RRULE": [{"FREQ": ["DAILY"]}, {"FREQ": ["HOURLY"]}]}, [RuleFault.FINE]),
        ({"RRULE": {"FREQ": ["DAILY"], "BYSECOND": [1]}}, [RuleFault.FINE]),
        ({"RRULE": {"FREQ": ["DAILY"], "INTERVAL": [1001]}}, [RuleFault.INTERVAL]),
        (
            {"EXRULE": {}, "RRULE": {"FREQ": ["SECONDLY"], "INTERVAL": [0]}},
            [RuleFault.EXRULE, RuleFault.FINE, RuleFault.INTERVAL],
        ),
    ],
)
def test_every_fault_of_an_events_rules_is_named(event: dict[str, Any], faults: list[RuleFault]) -> None:
    """One rule or several; each with all that is wrong with it, in order."""
    assert list(rule_faults(event)) == faults


def test_a_text_is_taken_up_to_its_bound_and_whole() -> None:
    """Bytes count, not characters; what stands after the end is white space or another thing."""
    assert out_of_bounds("x" * MAX_BYTES) == ""
    assert out_of_bounds("é" * (MAX_BYTES // 2 + 1)) == f"is larger than {MAX_BYTES} bytes"
    assert cut_off("BEGIN:VCALENDAR\r\nend:vcalendar\r\n ") == ""
    assert cut_off("BEGIN:VCALENDAR\r\nEND:VCALEND").startswith("is cut off")


async def test_a_process_that_ends_without_an_answer_is_a_refusal() -> None:
    """As one does that the operating system stopped: it took more than it was given."""
    with pytest.raises(ReadingStopped, match="needs more time or memory than it is given"):
        await read_apart("wire.clock", Answer(), Answer, 10)


def test_no_calendar_library_is_needed() -> None:
    """The agent's side of the wire is not burdened with one."""
    program = "import sys, wire.ical; assert not {'icalendar', 'recurring_ical_events'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
