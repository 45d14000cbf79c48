"""``ucx-proactive``: finds the command that was asked for and loads that one alone.

Loading every command would cost a second before the first word; ``ucx-proactive --help`` answers at once.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typer import Typer

from ucx_proactive.release import release

# name -> (module in ucx_proactive.commands, what it does)
COMMANDS = {
    "serve": ("serve", "Run the collector, the desk and the pager."),
    "demo": ("demo", "Show the whole chain on this machine."),
    "settings": ("settings", "Print every setting, explained, or check a file of them."),
    "migrate": ("migrate", "Bring the database's tables up to date."),
    "enrol-token": ("enrol_token", "Make a token that enrols one agent."),
    "api-key": ("keys", "Create, list and revoke API keys."),
    "agent": ("agents", "List agents and revoke their credentials."),
    "registry": ("registry", "Customers, contracts and people: a declarative file."),
    "ticket": ("ticket", "Look at tickets."),
    "sla": ("sla", "Work out what a contract promises for a ticket."),
    "policy": ("policy", "Check support and paging policies."),
    "coverage": ("coverage", "Who is covered, when, and where there are gaps."),
    "rules": ("rules", "Check, test and load rule packs."),
    "maintenance": ("maintenance", "Maintenance windows: import a customer's calendar."),
    "oncall": ("oncall", "Who is on call, paging switches."),
    "audit": ("audit", "Watch on-call from outside, through another provider."),
    "backup": ("backup", "Copy the whole database, and check the copy."),
    "restore": ("restore", "Fill an empty database from a backup; paging stays off in it."),
    "storage": ("storage", "What the database holds."),
    "doctor": ("doctor", "Find out what is wrong with this installation."),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; ends the process with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help", "help"):
        print(usage())
        raise SystemExit(0 if words else 2)
    if words[0] == "--version":
        print(f"ucx-proactive {release()}")
        raise SystemExit(0)
    try:
        run(words[0], words[1:])
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def run(name: str, words: Sequence[str]) -> None:
    """Load the command ``name`` and hand it its words."""
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        print(f"ucx-proactive: there is no command '{name}'.{hint}\n\n{usage()}", file=sys.stderr)
        raise SystemExit(2)
    module = importlib.import_module(f"ucx_proactive.commands.{COMMANDS[name][0]}")
    plain(module.app)
    module.app(args=list(words), prog_name=f"ucx-proactive {name}")


def plain(app: Typer) -> None:
    """Help and errors as plain text.

    In frames, "[ucx-data]" is taken for markup and vanishes, and the line ends of docstrings stay where a
    terminal of another width does not want them. A plain list of commands cuts off what each one does, unless
    it is given as the short help."""
    app.rich_markup_mode = None
    for command in app.registered_commands:
        text = command.help or (command.callback.__doc__ if command.callback else None) or ""
        command.short_help = " ".join(text.strip().split("\n\n")[0].split())
    for group in app.registered_groups:
        if group.typer_instance is not None:
            plain(group.typer_instance)


def usage() -> str:
    """The list of commands."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {purpose}" for name, (_, purpose) in COMMANDS.items()]
    return "\n".join(["Usage: ucx-proactive COMMAND [OPTIONS]", "", *lines, "", "COMMAND --help says more."])


if __name__ == "__main__":
    main()
