"""Strict YAML: every fault of a document at once, each with its line and the path of its field.

Only plain data is read: no aliases (they can blow up), no tags, no double keys. Readers take a ``Field``
apart with ``mapping``, ``items`` and ``scalar``; whatever is wrong is noted and reading goes on with None.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

import yaml
from yaml.constructor import SafeConstructor

from alerting.errors import Fault, PackError
from wire.document import UnreadableDocument, compose

T = TypeVar("T")
MAX_BYTES = 1_000_000
"""Largest document that is read."""


class Faults:
    """What was found wrong so far."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.found: list[Fault] = []

    def add(self, line: int, field: str, message: str) -> None:
        self.found.append(Fault(line, field, message))

    def raise_if_any(self) -> None:
        """Raises PackError with all faults, in document order."""
        if self.found:
            raise PackError(self.name, sorted(self.found, key=lambda f: (f.line, f.field)))


class Field:
    """One node of the document, with where it stands."""

    def __init__(self, node: yaml.Node, path: str, faults: Faults) -> None:
        self.node = node
        self.path = path
        self.faults = faults

    @property
    def line(self) -> int:
        return _line(self.node.start_mark)

    @property
    def is_scalar(self) -> bool:
        return isinstance(self.node, yaml.ScalarNode)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, yaml.MappingNode)

    @property
    def key_names(self) -> set[str]:
        """The keys of a mapping, unchecked; none of anything else."""
        pairs = self.node.value if isinstance(self.node, yaml.MappingNode) else ()
        return {str(key.value) for key, _ in pairs if isinstance(key, yaml.ScalarNode)}

    def fault(self, message: str) -> None:
        """Note that this field is wrong."""
        self.faults.add(self.line, self.path, message)

    def mapping(self, required: Collection[str], optional: Collection[str] | None = ()) -> dict[str, Field]:
        """The fields of a mapping; unknown and missing keys are faults. ``optional=None``: any key."""
        fields = dict(self._pairs())
        for key in required:
            if key not in fields:
                self.faults.add(self.line, _join(self.path, key), "is missing")
        if optional is not None:
            known = [*required, *optional]
            for key in [k for k in fields if k not in known]:
                fields.pop(key).fault(f"is not known here; known are: {', '.join(known)}")
        return fields

    def _pairs(self) -> Iterator[tuple[str, Field]]:
        if not isinstance(self.node, yaml.MappingNode):
            self.fault("must be a mapping (key: value)")
            return
        seen: set[str] = set()
        for key_node, value_node in self.node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            field = Field(value_node, _join(self.path, key), self.faults)
            if key in seen:
                self.faults.add(_line(key_node.start_mark), field.path, "stands here twice")
            seen.add(key)
            yield key, field

    def within(self, *keys: str) -> Field:
        """The field under these keys, unchecked; as deep as there is one."""
        pairs = self.node.value if keys and isinstance(self.node, yaml.MappingNode) else ()
        for key, value in pairs:
            if isinstance(key, yaml.ScalarNode) and key.value == keys[0]:
                return Field(value, _join(self.path, keys[0]), self.faults).within(*keys[1:])
        return self

    def items(self) -> list[Field]:
        """The items of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            self.fault("must be a list")
            return []
        return [Field(n, f"{self.path}[{i}]", self.faults) for i, n in enumerate(self.node.value)]

    def one_or_more(self) -> list[Field]:
        """A list, or a single scalar that stands for a list of one."""
        return [self] if isinstance(self.node, yaml.ScalarNode) else self.items()

    def scalar(self) -> object:
        """A text, number, truth value or None."""
        if not isinstance(self.node, yaml.ScalarNode):
            self.fault("must be a single value")
            return None
        try:
            return SafeConstructor().construct_object(self.node)
        except (yaml.YAMLError, ValueError, OverflowError):
            self.fault("cannot be read")
            return None

    def text(self, *, empty: bool = False) -> str:
        """The scalar as it was written; a fault when it is empty and must not be."""
        value = self.node.value if isinstance(self.node, yaml.ScalarNode) else self.scalar()
        if not isinstance(value, str) or "\0" in value or not (value.strip() or empty):
            self.fault("must be a text")
            return ""
        return value.strip()

    def flag(self) -> bool:
        value = self.scalar()
        if not isinstance(value, bool):
            self.fault("must be true or false")
        return value is True

    def number(self, least: int, most: int) -> int:
        value = self.scalar()
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.fault(f"must be a whole number from {least} to {most}")
            return least
        return value

    def parsed(self, parse: Callable[[str], T]) -> T | None:
        """The text through ``parse``, whose ValueError becomes a fault."""
        try:
            return parse(self.text())
        except ValueError as error:
            self.fault(str(error))
            return None


def _line(mark: Any) -> int:
    """Line of a mark, from 1; 0 where the reader kept none."""
    return mark.line + 1 if mark else 0


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def read(text: str, name: str) -> Field:
    """The document's root. Raises PackError when it is no YAML at all."""
    faults = Faults(name)
    try:
        node = compose(text, most_bytes=MAX_BYTES)
    except UnreadableDocument as error:
        node = None
        faults.add(error.line, "document", str(error))
    else:
        if node is None:
            faults.add(0, "document", "is empty")
    faults.raise_if_any()
    assert node is not None
    return Field(node, "", faults)
