"""``ucx-proactive policy``: the releases of the support policy. Flags only; ticketing/policy.py works."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ticketing.errors import TicketingError
from ticketing.policy import Release
from ticketing.policy_text import document_of, readable
from ticketing.releases import load_directory, load_releases, read_release, release_named

app = typer.Typer(
    help="The support policy, one release of the guide per file.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
Directory = Annotated[
    Path | None, typer.Option("--policies", help="Directory of releases instead of ours.", file_okay=False)
]


@app.command()
def show(
    name: Annotated[str | None, typer.Argument(help="Name of a release. [all]")] = None,
    policies: Directory = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what the releases say: targets, hours, escalation, renewals."""
    try:
        releases = load_releases() if policies is None else load_directory(policies)
        chosen = releases if name is None else (release_named(releases, name),)
    except TicketingError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(_shown(chosen, as_json))


def _shown(releases: tuple[Release, ...], as_json: bool) -> str:
    if as_json:
        return json.dumps([document_of(release) for release in releases], ensure_ascii=False, indent=2)
    return "\n\n".join(readable(release) for release in releases)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A release of the policy (YAML).", dir_okay=False)],
) -> None:
    """Check FILE: every fault with its line and field. Ends with 1 if there is any."""
    try:
        text = file.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        typer.echo(f"{file}: cannot be read: {error}", err=True)
        raise typer.Exit(2) from None
    release, faults = read_release(text)
    for fault in faults:
        typer.echo(f"{file}: {fault}", err=True)
    if release is None:
        typer.echo(f"{file}: {len(faults)} fault{'s' if len(faults) != 1 else ''}", err=True)
        raise typer.Exit(1)
    typer.echo(f"{file}: {release.title} ({release.release}), valid from {release.valid_from}: no faults")
