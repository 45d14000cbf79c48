"""The one way in for YAML that people write: small, shallow, without aliases.

Rule packs, registries, rotas, support policies and the agent's configuration each have a reader of their own
that knows their fields; all of them start from the nodes composed here. An alias lets a few lines unfold into
gigabytes, and deep nesting ends the composer's stack, so the document is surveyed event by event before
anything is built of it.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The same language; ten times faster where PyYAML was built with libyaml."""
_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character: what reading bytes that are no UTF-8 leaves in a text."""
MAX_DEPTH = 20
"""Levels of nesting that are read; no document of ours comes near."""


class UnreadableDocument(ValueError):
    """The text is no document that is read here; the message says why."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        """Where, counted from 1; 0 where the fault belongs to the whole."""


def compose(text: str, *, most_bytes: int) -> yaml.Node | None:
    """The root node of a YAML document of at most ``most_bytes`` of UTF-8; None of an empty one.

    Raises UnreadableDocument for anything else: broken YAML, an alias, too large, too deep.
    """
    if len(text) > most_bytes or len(text.encode("utf-8", "surrogatepass")) > most_bytes:
        raise UnreadableDocument(0, f"is larger than {most_bytes} bytes")
    if (at := _SURROGATE.search(text)) is not None:
        raise UnreadableDocument(
            text.count("\n", 0, at.start()) + 1, "is not UTF-8: save it in that encoding"
        )
    try:
        _survey(text)
        node: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise UnreadableDocument(_line(mark), f"is not YAML: {error.problem or error.context}") from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise UnreadableDocument(0, f"is not YAML: {str(error).splitlines()[0]}") from None
    return node


def _survey(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise UnreadableDocument(_line(event.start_mark), f"is nested more than {MAX_DEPTH} levels deep")
        if isinstance(event, yaml.AliasEvent):
            raise UnreadableDocument(
                _line(event.start_mark), "aliases (*name) are not read here: write it out"
            )


def _line(mark: Any) -> int:
    return mark.line + 1 if mark else 0
