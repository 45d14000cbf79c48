"""Reading YAML strictly: every fault with its line and field, all of them at once.

Scalars are taken as they are written (YAML's own guesses about ``no``, ``09:00`` or ``2026-01-05`` never
apply). Keys that nobody knows, keys given twice, aliases (a small file can unfold into a huge one) and
documents too large or too deep are faults.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import msgspec
import yaml

from wire.document import UnreadableDocument, compose

MAX_BYTES = 512 * 1024
"""Largest document, in bytes of UTF-8."""
_CHILD_LIMIT = 5_000
_T = TypeVar("_T")


class Fault(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong in a document."""

    line: int
    """Counted from 1."""
    field: str
    """Path, as in ``schedules.europe.layers[0].every``."""
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.field or 'document'}: {self.message}"


class Cursor:
    """A place in a document. What cannot be read is noted in ``faults`` and comes back empty."""

    def __init__(self, node: yaml.Node, path: str, faults: list[Fault]) -> None:
        self._node = node
        self.path = path
        self.faults = faults

    @property
    def line(self) -> int:
        """Where it stands, counted from 1."""
        return int(self._node.start_mark.line) + 1

    def fault(self, message: str) -> None:
        """Note that something is wrong here."""
        self.faults.append(Fault(self.line, self.path, message))

    def fields(self, required: Iterable[str], optional: Iterable[str] = ()) -> Mapping[str, Cursor]:
        """The known fields of a mapping; what is missing or unknown is a fault."""
        needed = list(required)
        known = [*needed, *optional]
        found = dict(self.entries())
        for key, child in found.items():
            if key not in known:
                child.fault(f"unknown field; known here: {', '.join(known)}")
        for key in needed:
            if key not in found and isinstance(self._node, yaml.MappingNode):
                self.fault(f"the field '{key}' is missing")
        return {key: child for key, child in found.items() if key in known}

    def entries(self) -> Iterator[tuple[str, Cursor]]:
        """Key and value of a mapping, each key once."""
        if not isinstance(self._node, yaml.MappingNode):
            self.fault("a mapping (key: value) is needed here")
            return
        seen: dict[str, int] = {}
        for key_node, value in self._node.value[:_CHILD_LIMIT]:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else "?"
            child = Cursor(value, f"{self.path}.{key}" if self.path else key, self.faults)
            if key in seen:
                child.fault(f"given twice; first in line {seen[key]}")
                continue
            seen[key] = key_node.start_mark.line + 1
            yield key, child

    def items(self) -> list[Cursor]:
        """The items of a list; a single value stands for a list of one."""
        if not isinstance(self._node, yaml.SequenceNode):
            return [self]
        nodes = self._node.value[:_CHILD_LIMIT]
        return [Cursor(node, f"{self.path}[{n}]", self.faults) for n, node in enumerate(nodes)]

    @property
    def is_list(self) -> bool:
        return isinstance(self._node, yaml.SequenceNode)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self._node, yaml.MappingNode)

    def text(self) -> str | None:
        """A value as it is written; None (and a fault) when it is none or empty."""
        if not isinstance(self._node, yaml.ScalarNode):
            self.fault("a single value is needed here")
            return None
        if not self._node.value.strip() or "\x00" in self._node.value:
            self.fault("a value is missing")
            return None
        return str(self._node.value).strip()

    def read(self, parse: Callable[[str], _T]) -> _T | None:
        """``parse`` of the text; its ValueError becomes a fault."""
        text = self.text()
        if text is None:
            return None
        try:
            return parse(text)
        except (ValueError, OverflowError) as error:
            self.fault(str(error))
            return None


def open_document(text: str) -> tuple[Cursor | None, list[Fault]]:
    """A cursor on the document's root and the (live) list of its faults."""
    faults: list[Fault] = []
    try:
        node = compose(text, most_bytes=MAX_BYTES)
    except UnreadableDocument as error:
        return None, [Fault(error.line or 1, "", str(error))]
    if node is None:
        return None, [Fault(1, "", "is empty")]
    return Cursor(node, "", faults), faults
