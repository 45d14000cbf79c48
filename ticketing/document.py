"""A strict YAML document read into a msgspec struct: every fault is reported at once, with line and field.

Unknown and repeated keys are faults. Only YAML's safe types are read; ``no`` as a country code is a boolean
there, and is refused like any other wrong type (write it in quotes).
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import yaml
from yaml.constructor import SafeConstructor

from wire.document import UnreadableDocument, compose

Path = tuple[str | int, ...]
T = TypeVar("T")
MAX_BYTES = 1_000_000
"""Largest document that is read."""


class Fault(msgspec.Struct, frozen=True):
    """One thing that is wrong with a document."""

    line: int
    """Line in the file, from 1."""
    field: str
    """Path of the field, as in ``plans.gold.targets.P1``; ``document`` for the whole."""
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.field}: {self.message}"


Lines = dict[Path, int]


class Document(msgspec.Struct, frozen=True):
    """A parsed file: plain data and the line of every field."""

    data: Any
    lines: Lines
    faults: tuple[Fault, ...]
    """What could not even be read (syntax, repeated keys)."""

    def fault(self, path: Path, message: str) -> Fault:
        """A fault at the nearest enclosing field whose line is known."""
        known = path
        while known not in self.lines and known:
            known = known[:-1]
        return Fault(self.lines.get(known, 1), dotted(path), message)


def dotted(path: Path) -> str:
    """``('plans', 'gold', 'faults', 0)`` -> ``plans.gold.faults[0]``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.lstrip(".") or "document"


def parse(text: str) -> Document:
    """Read YAML text. Never raises for bad text: the faults are in the answer."""
    try:
        root = compose(text, most_bytes=MAX_BYTES)
    except UnreadableDocument as error:
        return Document(None, {}, (Fault(error.line or 1, "document", str(error)),))
    if root is None:
        return Document({}, {}, (Fault(1, "document", "is empty"),))
    lines: Lines = {}
    faults = list(_walk(root, (), lines))
    try:
        data = None if faults else SafeConstructor().construct_document(root)
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        return Document(None, {}, (Fault(1, "document", f"cannot be read: {error}"),))
    return Document(data, lines, tuple(faults))


def _walk(node: yaml.Node, path: Path, lines: Lines) -> Iterator[Fault]:
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        yield from _walk_mapping(node, path, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _walk(item, (*path, index), lines)


def _walk_mapping(node: yaml.MappingNode, path: Path, lines: Lines) -> Iterator[Fault]:
    seen: set[str] = set()
    for key, value in node.value:
        name = str(key.value)
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            yield Fault(line, dotted(path), "has a key that is not plain text")
        elif name in seen:
            yield Fault(line, dotted((*path, name)), "is given twice")
        seen.add(name)
        yield from _walk(value, (*path, name), lines)
        lines[*path, name] = line


def convert(document: Document, kind: type[T]) -> tuple[T | None, list[Fault]]:
    """The document as ``kind``, and all its faults; None where there is any."""
    faults = list(document.faults)
    if not faults:
        faults = [document.fault(path, message) for path, message in _faults(document.data, kind, ())]
    if faults:
        return None, faults
    return msgspec.convert(document.data, kind), []


def _faults(data: Any, kind: Any, path: Path) -> Iterator[tuple[Path, str]]:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        yield from _of_union(data, kind, path)
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from _of_struct(data, kind, path)
    elif origin is dict and isinstance(data, dict):
        for key, value in data.items():
            yield from _faults(value, get_args(kind)[1], (*path, str(key)))
        yield from _leaf(dict.fromkeys(data, None), dict[get_args(kind)[0], None], path)  # type: ignore[misc]
    elif origin is tuple and isinstance(data, list):
        for index, value in enumerate(data):
            yield from _faults(value, get_args(kind)[0], (*path, index))
    else:
        yield from _leaf(data, kind, path)


def _of_union(data: Any, kind: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """Only ``X | None`` has members worth looking into; other unions are judged as a whole."""
    members = [member for member in get_args(kind) if member is not types.NoneType]
    if data is None or len(members) > 1:
        yield from _leaf(data, kind, path)
    else:
        yield from _faults(data, members[0], path)


def _of_struct(data: Any, kind: type[msgspec.Struct], path: Path) -> Iterator[tuple[Path, str]]:
    if not isinstance(data, dict):
        yield path, f"must be a mapping of {', '.join(f.encode_name for f in msgspec.structs.fields(kind))}"
        return
    hints = get_type_hints(kind, include_extras=True)
    fields = {f.encode_name: f for f in msgspec.structs.fields(kind)}
    for key in data.keys() - fields.keys():
        yield (*path, str(key)), f"is not known here; known are {', '.join(fields)}"
    for name, field in fields.items():
        if name in data:
            yield from _faults(data[name], hints[field.name], (*path, name))
        elif field.required:
            yield (*path, name), "is missing"


def _leaf(data: Any, kind: Any, path: Path) -> Iterator[tuple[Path, str]]:
    try:
        msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        message = str(error).split(" - at ", maxsplit=1)[0]
        yield path, message[:1].lower() + message[1:]


Check = Callable[[T], Iterator[tuple[Path, str]]]
"""A judgement about a whole document: path and message of each fault."""


def load(text: str, kind: type[T], check: Check[T]) -> tuple[T | None, list[Fault]]:
    """Text -> value, judged by its types and, when those are right, by ``check``. Faults in line order."""
    document = parse(text)
    value, faults = convert(document, kind)
    if value is not None:
        faults = [document.fault(path, message) for path, message in check(value)]
    return (None if faults else value), sorted(faults, key=lambda f: (f.line, f.field))
