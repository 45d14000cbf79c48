"""TwiML is read strictly: what the documentation does not know is a fault."""

from __future__ import annotations

import pytest

from oncall.simulator.instructions import BadInstructions, Gather, Hangup, Pause, Redirect, Say, parse

BASE = "http://ours/a/twiml"


def test_a_document() -> None:
    """Each verb with its defaults; relative URLs are resolved."""
    steps = parse(
        b"<Response><Say>Hello  there</Say><Pause/>"
        b"<Gather numDigits='1' action='../key'><Say>Press</Say></Gather>"
        b"<Redirect>/again</Redirect><Hangup/></Response>",
        BASE,
    )
    assert steps == [
        Say("Hello there"),
        Pause(1.0),
        Gather((Say("Press"),), "http://ours/key", "POST", 1, 5.0, "#"),
        Redirect("http://ours/again", "POST"),
        Hangup(),
    ]


@pytest.mark.parametrize(
    "document",
    [
        "",
        "<Response>",
        "<Answer/>",
        "<Response><Dance/></Response>",
        "<Response><Say/></Response>",
        "<Response><Say><b>x</b></Say></Response>",
        "<Response><Say shout='1'>x</Say></Response>",
        "<Response><Gather numDigits='-1'/></Response>",
        "<Response><Gather numDigits='one'/></Response>",
        "<Response><Gather method='PUT'/></Response>",
        "<Response><Gather input='speech'/></Response>",
        "<Response><Gather><Hangup/></Gather></Response>",
        "<Response><Redirect/></Response>",
        "<!DOCTYPE x [<!ENTITY a 'b'>]><Response><Say>&a;</Say></Response>",
        f"<Response><Say>{'x' * 5000}</Say></Response>",
        f"<Response><Say>{'x' * 70_000}</Say></Response>",
    ],
)
def test_faults(document: str) -> None:
    """Each of these would make the phone company say that an application error has occurred."""
    with pytest.raises(BadInstructions):
        parse(document.encode(), BASE)
