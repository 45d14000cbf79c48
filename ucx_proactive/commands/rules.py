"""``ucx-proactive rules``: check, test and load rule packs. Flags only; the alerting room works."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import msgspec
import typer

from alerting import history, shadow
from alerting.errors import AlertingError, PackError
from alerting.hints import hints
from alerting.pack import Pack, default_document, parse_pack, schema
from alerting.packdiff import difference
from alerting.rule import Rule
from alerting.rulebook import load_evaluator, remove_override, scope_ids, set_override, store_pack
from alerting.ruletest import Case, parse_cases, run_case, uncovered
from alerting.ruletext import explained, listed, untold
from alerting.trial import AT_ONCE, Comparison, Trial, read_csv, scope_of
from storage.pool import Pool
from ucx_proactive.commands.shared import HERE, DatabaseUrl, DataDir, with_database

T = TypeVar("T")

app = typer.Typer(
    help="Rules: check, test and load packs, see what is in force for a host.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
trials = typer.Typer(help="The pack on trial: what it would have done.", no_args_is_help=True)
app.add_typer(trials, name="shadow")
Rules = Annotated[
    Path | None,
    typer.Option("--rules", help="Rule pack to work with instead of the shipped one.", dir_okay=False),
]


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A rule pack (YAML).", dir_okay=False)],
    translated: Annotated[
        bool, typer.Option("--translated", help="Every text must be there in every language.")
    ] = False,
) -> None:
    """Check PATH: every fault with its line and field; then doubts, and which translations are missing.

    Ends with 1 if there is a fault, with --translated also if a translation is missing."""
    pack = _pack(path)
    typer.echo(f"{path}: {len(pack.rules)} rules, no fault.")
    for line in hints(pack.rules):
        typer.echo(f"note: {line}")
    untranslated = list(untold(pack.rules))
    for line in untranslated:
        typer.echo(line)
    raise typer.Exit(1 if translated and untranslated else 0)


@app.command(name="test")
def run_tests(
    path: Annotated[Path, typer.Argument(help="A file of rule tests, or a directory of them.")],
    rules: Rules = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Every level of every rule must be seen firing.")
    ] = False,
) -> None:
    """Run the tests in PATH: input series and events -> expected alerts at times. Ends with 1 on failure."""
    pack = _pack(rules)
    cases = {file: _cases(file) for file in _files(path)}
    failures = [
        f"{file}:{f}" for file, found in cases.items() for c in found for f in run_case(c, pack.rules)
    ]
    if strict:
        missing = uncovered([case for found in cases.values() for case in found], pack.rules)
        failures += [f"{path}: no case sees {level} firing" for level in missing]
    for failure in failures:
        typer.echo(failure, err=True)
    count = sum(map(len, cases.values()))
    typer.echo(f"{count} cases, {len(failures)} failures.")
    raise typer.Exit(1 if failures or not count else 0)


@app.command()
def show(
    rules: Rules = None,
    as_document: Annotated[
        bool, typer.Option("--document", help="Print the pack itself (YAML), to begin one's own with.")
    ] = False,
) -> None:
    """List the rules of a pack: levels, durations, rationale."""
    pack = _pack(rules)
    if as_document:
        typer.echo(default_document() if rules is None else _text(rules))
    else:
        typer.echo(listed(pack.rules))


@app.command(name="schema")
def print_schema() -> None:
    """Print the JSON Schema of rule packs, for editors."""
    typer.echo(schema())


@app.command()
def load(
    path: Annotated[
        Path | None, typer.Argument(help="A rule pack (YAML). Default: the shipped one.", dir_okay=False)
    ] = None,
    by: Annotated[str, typer.Option(help="Who loads it, for the record.")] = "command line",
    on_trial: Annotated[
        bool, typer.Option("--shadow", help="Only on trial, beside the pack in force: it bothers nobody.")
    ] = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Put a pack in force: collectors take it with their next commit. State of unchanged rules is kept."""
    text = default_document() if path is None else _text(path)
    pack = _pack(path)

    async def work(pool: Pool) -> int:
        async with pool.connection() as conn:
            return await (shadow.load if on_trial else store_pack)(conn, text, pack.name, by)

    version = with_database(work, database_url, data_dir)
    typer.echo(f"{len(pack.rules)} rules {'on trial' if on_trial else 'in force'} as version {version}.")


@trials.command(name="report")
def shadow_report(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Show what the pack on trial would have done, beside the one in force. Ends with 1 if there is none."""

    async def work(pool: Pool) -> Comparison | None:
        async with pool.connection() as conn:
            return await shadow.report(conn)

    found = with_database(work, database_url, data_dir)
    if found is None:
        _no_trial()
    typer.echo(msgspec.json.encode(found).decode() if as_json else "\n".join([*found.alerts, str(found)]))


@trials.command(name="stop")
def shadow_stop(database_url: DatabaseUrl = None, data_dir: DataDir = HERE) -> None:
    """End the trial. Ends with 1 if there is none."""

    async def work(pool: Pool) -> bool:
        async with pool.connection() as conn:
            return await shadow.stop(conn)

    if not with_database(work, database_url, data_dir):
        _no_trial()


def _no_trial() -> NoReturn:
    typer.echo("No pack is on trial; put one there with 'rules load --shadow PATH'.", err=True)
    raise typer.Exit(1)


@app.command()
def explain(
    tenant: Annotated[str, typer.Option(help="Key of the tenant.")],
    deployment: Annotated[str, typer.Option(help="Key of the deployment.")],
    host: Annotated[str, typer.Option(help="Name of the host.")],
    rule: Annotated[str | None, typer.Option(help="One rule only.")] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Show the rules as they are in force for a host, and which override says so."""

    async def work(pool: Pool) -> str | None:
        async with pool.connection() as conn:
            return await explained(conn, await load_evaluator(conn), tenant, deployment, host, rule)

    text = with_database(work, database_url, data_dir)
    if text is None:
        or_rule = "" if rule is None else f", or no rule '{rule}'"
        typer.echo(f"There is no host '{host}' in {tenant}/{deployment}{or_rule}.", err=True)
        raise typer.Exit(1)
    typer.echo(text)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="A rule pack (YAML).", dir_okay=False)],
    new: Annotated[
        Path | None, typer.Argument(help="Another one. Default: the shipped one.", dir_okay=False)
    ] = None,
) -> None:
    """Show what changes from OLD to NEW, and what becomes of open alerts."""
    lines = difference(_pack(old).rules, _pack(new).rules)
    typer.echo("\n".join(lines) if lines else "Both judge the same.")


@app.command()
def replay(
    rules: Annotated[Path, typer.Option("--rules", help="The pack to try.", dir_okay=False)],
    csv: Annotated[
        Path | None, typer.Option("--csv", help="History: time,host,metric,attributes,value.", dir_okay=False)
    ] = None,
    start: Annotated[datetime | None, typer.Option("--from", help="Stored history from then (UTC).")] = None,
    end: Annotated[datetime | None, typer.Option("--to", help="Until then (UTC).")] = None,
    tenant: Annotated[str | None, typer.Option(help="Key of the tenant. [all]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Try a pack on history, against the rules in force (with --csv: the shipped ones)."""
    tried = _pack(rules).rules
    if csv is not None:
        found = _told(lambda: _on_csv(csv, tried))
    elif start is None or end is None:
        typer.echo("Give --csv, or --from and --to.", err=True)
        raise typer.Exit(2)
    elif end <= start:
        typer.echo("--to must be after --from.", err=True)
        raise typer.Exit(2)
    else:
        span = (start.replace(tzinfo=UTC), end.replace(tzinfo=UTC))
        found = with_database(lambda pool: _on_history(pool, tried, tenant, *span), database_url, data_dir)
    typer.echo(msgspec.json.encode(found).decode() if as_json else "\n".join([*found.alerts, str(found)]))


def _on_csv(path: Path, tried: tuple[Rule, ...]) -> Comparison:
    trial = Trial(parse_pack(default_document()).rules, tried)
    for number, (host, frames) in enumerate(read_csv(_text(path).splitlines(), str(path)).items(), start=1):
        trial.feed(scope_of(host, number), frames)
    return trial.result()


async def _on_history(
    pool: Pool, tried: tuple[Rule, ...], tenant: str | None, start: datetime, end: datetime
) -> Comparison:
    async with pool.connection() as conn:
        trial = Trial((await load_evaluator(conn)).rules, tried)
        for scope in await history.hosts(conn, tenant):
            host = trial.host(scope)
            async for frames in history.pieces(conn, scope, start, end, AT_ONCE):
                host.take(frames)
            host.end()
    return trial.result()


@app.command()
def override(
    path: Annotated[Path, typer.Argument(help="The override (YAML): rule, reason, enabled, levels, where.")],
    tenant: Annotated[str, typer.Option(help="Key of the tenant.")],
    deployment: Annotated[str | None, typer.Option(help="Key of a deployment. [all]")] = None,
    host: Annotated[str | None, typer.Option(help="Name of a host. [all]")] = None,
    by: Annotated[str, typer.Option(help="Who sets it, for the record.")] = "command line",
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Set another threshold for a tenant, a deployment or a host, in place of the one set there before."""
    text = _text(path)

    async def work(pool: Pool) -> int:
        async with pool.connection() as conn:
            ids = await scope_ids(conn, tenant, deployment, host)
            return await set_override(conn, *ids, text, by)

    version = _told(lambda: with_database(work, database_url, data_dir))
    typer.echo(f"In force as version {version}.")


@app.command()
def unset(
    rule: Annotated[str, typer.Argument(help="Id of the rule.")],
    tenant: Annotated[str, typer.Option(help="Key of the tenant.")],
    deployment: Annotated[str | None, typer.Option(help="Key of a deployment.")] = None,
    host: Annotated[str | None, typer.Option(help="Name of a host.")] = None,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Take an override out of force. Ends with 1 if there is none."""

    async def work(pool: Pool) -> bool:
        async with pool.connection() as conn:
            return await remove_override(conn, *await scope_ids(conn, tenant, deployment, host), rule)

    if not _told(lambda: with_database(work, database_url, data_dir)):
        typer.echo(f"There is no such override of '{rule}'.", err=True)
        raise typer.Exit(1)


def _pack(path: Path | None) -> Pack:
    if path is None:
        return parse_pack(default_document(), "shipped rules")
    text = _text(path)
    return _told(lambda: parse_pack(text, str(path)))


def _cases(path: Path) -> tuple[Case, ...]:
    text = _text(path)
    return _told(lambda: parse_cases(text, str(path)))


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from sorted(path.glob("*.yaml"))
    else:
        yield path


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        typer.echo(f"{path}: cannot be read: {error}", err=True)
        raise typer.Exit(2) from None


def _told(work: Callable[[], T]) -> T:
    """The result; what is wrong is told line by line, and the command ends with 1."""
    try:
        return work()
    except PackError as error:
        for fault in error.faults:
            typer.echo(f"{error.name}:{fault}", err=True)
        raise typer.Exit(1) from None
    except AlertingError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
