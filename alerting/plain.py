"""Text from outside, made fit for a key, a column and a line."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

MAX_INSTANCE = 200
"""Characters of an instance: with the rest of its key it fits an index entry, whatever the alphabet."""


def clean(text: str) -> str:
    """Without control characters that PostgreSQL or a line cannot hold; white space is one blank."""
    return " ".join(text.replace("\0", " ").split())


def instance(values: Iterable[str]) -> str:
    """The values of instance attributes as one text; a long one ends in a digest that keeps it unique."""
    text = ", ".join(clean(value) for value in values)
    if len(text) <= MAX_INSTANCE:
        return text
    return f"{text[: MAX_INSTANCE - 18]} #{hashlib.sha256(text.encode()).hexdigest()[:16]}"
