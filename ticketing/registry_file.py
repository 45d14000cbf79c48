"""Reading a registry file: YAML with every fault at once, each with its line and field.

The file is composed to nodes first, so that each fault can name its line; then it is built into plain
values and validated as a whole. Aliases and doubled keys are refused: what you see is what is applied.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import resources
from typing import Any

import yaml
from psycopg import AsyncConnection
from pydantic import ValidationError

from ticketing.registry import Fault, Registry, RegistryError, field_path, plain
from ticketing.registry_plan import Change
from ticketing.registry_store import apply, plan
from wire.document import UnreadableDocument, compose

Path = tuple[str | int, ...]
MAX_BYTES = 8 * 1024 * 1024
"""Longest file that is read, in bytes."""


async def plan_file(conn: AsyncConnection[Any], text: str) -> list[Change]:
    """What applying this file would change. Raises RegistryError with every fault and its line."""
    registry, lines = parse(text)
    with _located(lines):
        return await plan(conn, registry)


async def apply_file(
    conn: AsyncConnection[Any], text: str, *, now: datetime, actor: str, origin: str
) -> list[Change]:
    """Apply this file, all or nothing; returns what changed. Raises RegistryError with every fault."""
    registry, lines = parse(text)
    with _located(lines):
        return await apply(conn, registry, now=now, actor=actor, origin=origin)


@contextmanager
def _located(lines: dict[Path, int]) -> Iterator[None]:
    """Give the faults of a comparison with the store their lines in the file."""
    by_field = {field_path(path): line for path, line in lines.items()}
    try:
        yield
    except RegistryError as error:
        faults = [f.model_copy(update={"line": by_field.get(f.field)}) for f in error.faults]
        raise RegistryError(faults) from None


def parse(text: str) -> tuple[Registry, dict[Path, int]]:
    """The document and the line of each of its fields. Raises RegistryError with every fault."""
    node = _compose(text)
    lines: dict[Path, int] = {}
    faults: list[Fault] = []
    value = _build(node, (), lines, faults) if node is not None else {}
    try:
        registry = Registry.model_validate(value)
    except ValidationError as error:
        faults += [_fault(e["loc"], e["type"], e["msg"], lines) for e in error.errors()]
        raise RegistryError(sorted(faults, key=_position)) from None
    if faults:
        raise RegistryError(sorted(faults, key=_position))
    return registry, lines


def example_text() -> str:
    """A document with every field, explained."""
    return resources.files("ticketing").joinpath("example.yaml").read_text(encoding="utf-8")


def line_of(lines: dict[Path, int], location: Path) -> int | None:
    """The line of a field, or of the nearest thing around it that stands in the file."""
    known = (location[:n] for n in range(len(location), -1, -1))
    return next((lines[path] for path in known if path in lines), None)


def _position(fault: Fault) -> tuple[int, str]:
    return fault.line or 0, fault.field


def _compose(text: str) -> yaml.Node | None:
    try:
        return compose(text, most_bytes=MAX_BYTES)
    except UnreadableDocument as error:
        raise RegistryError([Fault(field="document", message=str(error), line=error.line or None)]) from None


def _build(node: yaml.Node, path: Path, lines: dict[Path, int], faults: list[Fault]) -> Any:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return dict(_pairs(node, path, lines, faults))
    if isinstance(node, yaml.SequenceNode):
        return tuple(_build(item, (*path, n), lines, faults) for n, item in enumerate(node.value))
    return _scalar(node, path, lines, faults)


def _pairs(
    node: yaml.MappingNode, path: Path, lines: dict[Path, int], faults: list[Fault]
) -> Iterator[tuple[str, Any]]:
    seen: set[str] = set()
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            faults.append(Fault(field=field_path(path), message="has a key that is not a text", line=line))
            continue
        key = str(key_node.value)
        if key in seen:
            faults.append(Fault(field=field_path((*path, key)), message="is given twice", line=line))
            continue
        seen.add(key)
        lines[(*path, key)] = line
        yield key, _build(value_node, (*path, key), lines, faults)


def _scalar(node: yaml.Node, path: Path, lines: dict[Path, int], faults: list[Fault]) -> Any:
    constructor = yaml.constructor.SafeConstructor()
    try:
        return constructor.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        message = f"cannot be read: {getattr(error, 'problem', None) or error}"
        faults.append(Fault(field=field_path(path), message=message, line=lines.get(path)))
        return None


def _fault(location: Path, kind: str, message: str, lines: dict[Path, int]) -> Fault:
    text = plain(message)
    if kind == "extra_forbidden":
        text = "is not a field of this document; check its spelling"
    elif kind == "string_type":
        text = "must be a text; put it in quotes"
    return Fault(field=field_path(location), message=text, line=line_of(lines, location))
