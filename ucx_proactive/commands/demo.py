"""``ucx-proactive demo``: the whole chain on this machine. Flags only; ucx_proactive/demo/ does the work."""

from __future__ import annotations

import signal
import sys
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated

import msgspec
import typer

from ucx_proactive.demo.customers import Customer, Tongue
from ucx_proactive.demo.faults import Fault
from ucx_proactive.demo.processes import DemoFailed
from ucx_proactive.demo.stage import Stage, Wishes, default_directory

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Priority(StrEnum):
    """What the demo's rule gives the fault."""

    P1 = "P1"
    P2 = "P2"
    P3 = "P3"
    P4 = "P4"


@app.command("demo")
def demo(
    fault: Annotated[Fault | None, typer.Option(help="Make this fault on this machine, for real.")] = None,
    customer: Annotated[
        Customer,
        typer.Option(
            help="platinum: ticket, and a call for P1; gold: ticket, no call; basic: no ticket; "
            "basic-cloud: best-effort ticket, no call."
        ),
    ] = Customer.PLATINUM,
    priority: Annotated[Priority, typer.Option(help="Of the fault, by the demo's rule.")] = Priority.P1,
    language: Annotated[
        Tongue, typer.Option(help="Of the customer's contact: its mails and the decision record.")
    ] = Tongue.EN,
    auto_answer: Annotated[
        bool, typer.Option("--auto-answer", help="The technician's phone answers itself and presses 4.")
    ] = False,
    exit: Annotated[
        bool, typer.Option("--exit", help="End when the chain has ended (exit code 0 = all of it).")
    ] = False,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write the measured times there.", dir_okay=False)
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where everything lies that the demo writes. [.demo]", file_okay=False),
    ] = None,
) -> None:
    """A real agent measures this machine, a collector stores it, a ticket opens, a phone rings.

    Demo customers (Platinum, Gold, Basic, Basic in the cloud) are set up in a database of the demo's own.
    Without --fault nothing is wrong, and you can look around. With it, the fault is made on this machine -
    bounded, undone afterwards - and every step is told as it happens: the reading, the alert, the ticket and
    why it has its priority and deadline, whose phone rings and why, who took it in charge, and the mails that
    reach the customer in its language. Ctrl-C stops everything.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    if json is not None and not json.absolute().parent.is_dir():
        raise typer.BadParameter(f"the folder of {json} does not exist", param_hint="--json")
    wishes = Wishes(
        customer, fault, default_directory(data_dir), auto_answer, exit, int(priority[1:]), language
    )
    stage = Stage(wishes, lambda line: print(line, flush=True))
    try:
        times = stage.run()
    except DemoFailed as error:
        print(f"demo: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if json is not None:
        json.write_bytes(msgspec.json.format(msgspec.json.encode(times), indent=2) + b"\n")


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends the demo as Ctrl-C does: in order."""
    raise KeyboardInterrupt
