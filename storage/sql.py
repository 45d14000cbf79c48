"""Named queries: SQL lives in ``queries.sql`` beside the code that owns it.

The format, which the loader enforces::

    -- name: claim_due
    -- Takes the alerts whose look is due, skipping those another worker holds.
    SELECT ... WHERE due_at <= %(now)s FOR UPDATE SKIP LOCKED

A query runs from its ``-- name:`` line to the next one. The line after the name states the purpose and is
required: it is what a reader sees first. A file may open with comments. Everything at fault is
reported at once, as ``file:line: what to do``.

    SqlError
    |- BadQueryFile   queries.sql does not follow the format
    `- UnknownQuery   code asks for a name that the file does not have
"""

from __future__ import annotations

import ast
import importlib.resources
import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

FILE_NAME = "queries.sql"
_NAME_LINE = re.compile(r"--\s*name\s*:\s*(.*?)\s*$", re.IGNORECASE)
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class SqlError(Exception):
    """Base of this module's errors."""


class BadQueryFile(SqlError):
    """The file breaks the format; the message lists every fault with its line."""


class UnknownQuery(SqlError, AttributeError):
    """No query of that name; the message lists those that exist."""


@dataclass(frozen=True)
class Query:
    """One named query."""

    name: str
    """Identifier in lower_snake_case."""
    purpose: str
    """The line under the name, without its dashes."""
    sql: bytes
    """The statement, UTF-8, without the header and without a closing semicolon."""
    line: int
    """1-based line of its ``-- name:``."""


class Queries:
    """The queries of one file; each is an attribute, as in ``await conn.execute(Q.claim_due, {...})``."""

    def __init__(self, queries: Mapping[str, Query], source: str) -> None:
        self._queries = dict(queries)
        self._source = source

    @classmethod
    def load(cls, package: str) -> Queries:
        """The queries of ``package``'s queries.sql. Raises ``BadQueryFile``."""
        resource = importlib.resources.files(package).joinpath(FILE_NAME)
        source = f"{package.replace('.', '/')}/{FILE_NAME}"
        return cls(parse(resource.read_text(encoding="utf-8"), source), source)

    def __getattr__(self, name: str) -> bytes:
        if name.startswith("_") or name not in self._queries:
            raise UnknownQuery(f"{self._source} has no query {name!r}; it has: {', '.join(self._queries)}")
        return self._queries[name].sql

    def __iter__(self) -> Iterator[Query]:
        return iter(self._queries.values())

    def __contains__(self, name: object) -> bool:
        return name in self._queries


def parse(text: str, source: str) -> dict[str, Query]:
    """The queries in ``text``; ``source`` names it in faults. Raises ``BadQueryFile`` with all faults."""
    faults: list[str] = []
    queries: dict[str, Query] = {}
    for line, name, body in _sections(text, source, faults):
        query, fault = _query(line, name, body)
        if query is None:
            faults.append(f"{source}:{line}: {fault}")
        elif query.name in queries:
            faults.append(
                f"{source}:{line}: {name!r} is already defined in line {queries[name].line}; rename one"
            )
        else:
            queries[name] = query
    if faults:
        raise BadQueryFile("\n".join(faults))
    return queries


def _sections(text: str, source: str, faults: list[str]) -> Iterator[tuple[int, str, list[str]]]:
    current: tuple[int, str, list[str]] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        header = _NAME_LINE.match(line)
        if header:
            if current:
                yield current
            current = (number, header[1], [])
        elif current:
            current[2].append(line)
        elif line.strip() and not line.startswith("--"):
            faults.append(f"{source}:{number}: SQL before the first '-- name:' line; give it a name")
    if current:
        yield current


def _query(line: int, name: str, body: list[str]) -> tuple[Query | None, str]:
    if not _NAME.fullmatch(name) or hasattr(Queries, name):
        return None, f"{name!r} is no usable name; take lower_snake_case, and not a method of Queries"
    purpose = body[0][2:].strip() if body and body[0].startswith("--") else ""
    if not purpose:
        return None, f"query {name!r} has no purpose; write one as a '-- ...' comment right under its name"
    sql = "\n".join(body[1:]).strip().removesuffix(";").strip()
    if all(not part.strip() or part.strip().startswith("--") for part in sql.splitlines()):
        return None, f"query {name!r} has no SQL"
    return Query(name, purpose, sql.encode(), line), ""


@dataclass(frozen=True)
class Usage:
    """How a package's code and its queries.sql agree; empty on both sides when they do."""

    missing: tuple[str, ...]
    """Uses of ``Q.name`` for which there is no query, as ``file:line: name``."""
    unused: tuple[str, ...]
    """Names of queries that no code uses."""


def usage(package: str, variable: str = "Q") -> Usage:
    """Compares every ``Q.<name>`` in ``package``'s sources with its queries.sql. For tests.

    A subfolder with a queries.sql of its own is a package of its own."""
    queries = Queries.load(package)
    used: dict[str, str] = {}
    for path in _sources(_folder(package)):
        for name, line in _attributes(path, variable):
            used.setdefault(name, f"{path.name}:{line}: {name}")
    missing = tuple(place for name, place in used.items() if name not in queries)
    return Usage(missing, tuple(query.name for query in queries if query.name not in used))


def _sources(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.glob("*.py"))
    for inner in sorted(path for path in folder.iterdir() if path.is_dir()):
        if not (inner / "queries.sql").exists():
            yield from _sources(inner)


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"{package} is not a package")
    return Path(spec.submodule_search_locations[0])


def _attributes(path: Path, variable: str) -> Iterator[tuple[str, int]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == variable:
            yield node.attr, node.lineno
