"""``ucx-proactive oncall apply``: put a rota in force. Flags only; oncall/roster.py works."""

from __future__ import annotations

import difflib
import getpass
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from oncall import rota_view as view
from oncall.gaps import Gap
from oncall.roster import Conn, R, RefusedRota, load, save
from oncall.rota_file import BadRota
from oncall.watch import AHEAD, Look, gap_check
from storage.pool import Pool
from ucx_proactive.commands.shared import HERE, DatabaseUrl, DataDir, counted, with_database
from ucx_proactive.contract import contract_limit_s
from wire.clock import utcnow


class Outcome(msgspec.Struct, frozen=True):
    """What was done, or would be."""

    before: str
    """The document in force until now; '' = none."""
    gaps: tuple[Gap, ...]
    zone: str
    fault: str | None


def apply(
    file: Annotated[Path, typer.Argument(help="The rota (YAML).", exists=True, dir_okay=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and show; save nothing.")] = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Put a rota in force: checked against contract and registry, compared, saved, looked through for gaps.

    Exit code 2: it is refused, nothing is changed. 1: it has gaps in the next 90 days (saved all the same).
    0: it is good."""
    text = file.read_bytes().decode("utf-8", "surrogateescape")

    async def work(pool: Pool) -> Outcome:
        async with pool.connection() as conn:
            return await _applied(conn, text, dry_run=dry_run)

    try:
        done = with_database(work, database_url, data_dir)
    except (BadRota, RefusedRota) as refusal:
        _tell_refusal(file, refusal)
        raise typer.Exit(2) from None
    _tell(file, text, done, dry_run=dry_run)
    raise typer.Exit(1 if done.gaps or done.fault else 0)


async def _applied(conn: Conn, text: str, *, dry_run: bool) -> Outcome:
    """Saved and looked through, with the overrides and absences that lie on top; a dry run is taken back
    whole."""
    async with conn.transaction(force_rollback=dry_run):
        now, before = utcnow(), await _before(conn)
        if before != text:
            await save(conn, text, now, f"cli:{getpass.getuser()}", contract_limit_s(now))
        look = await gap_check(conn, utcnow, "save", alarm=_quiet)
        stored = await load(conn, now)
        zone = stored.rota.zone if stored else "UTC"
        return Outcome(before, look.gaps, zone, look.fault)


async def _quiet(_look: Look) -> None:
    """The terminal tells."""


async def _before(conn: Conn) -> str:
    row = await (await conn.execute(R.newest_document)).fetchone()
    return "" if row is None else str(row[1])


def _tell(file: Path, text: str, done: Outcome, *, dry_run: bool) -> None:
    old, new = done.before.splitlines(), text.splitlines()
    for line in difflib.unified_diff(old, new, "in force", str(file), lineterm="", n=1):
        typer.echo(line)
    changed = done.before != text
    verb = ("would be saved" if dry_run else "saved") if changed else "is in force already"
    typer.echo("\n".join(view.gap_lines(done.gaps, done.zone)), nl=bool(done.gaps))
    if done.fault:
        typer.echo(f"the look for gaps failed: {done.fault}", err=True)
    gaps = counted(len(done.gaps), "gap")
    typer.echo(f"{file}: {verb}; {gaps} in the next {AHEAD.days} days (times in {done.zone})")


def _tell_refusal(file: Path, refusal: BadRota | RefusedRota) -> None:
    if isinstance(refusal, BadRota):
        lines = [f"{file}:{f.line}: {f.field or 'document'}: {f.message}" for f in refusal.faults]
    else:
        lines = [f"{file}: {reason}" for reason in refusal.reasons]
    for line in lines:
        typer.echo(line, err=True)
    typer.echo(f"oncall: {counted(len(lines), 'fault')}; nothing was changed", err=True)
