"""Regular expressions that people send us: RE2's, matched in time linear in the text, whatever is written.

It is the engine's dialect that the Alertmanager has, too. The expression is for the whole text.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2

MAX_LENGTH = 1000
"""Characters of an expression."""
_MEMORY = 1 << 20
"""Bytes that one compiled expression may take."""
MOST_STEPS = 2000
"""Instructions of one compiled expression: at worst each of them is looked at for each character of a label,
and a label has up to 4,000. A text of the greatest length has half as many."""


def _options() -> Any:
    options = re2.Options()
    options.max_mem = _MEMORY
    options.log_errors = False
    options.never_capture = True  # what groups hold nobody asks; to tell it cost a hundred times the match
    return options


@lru_cache(maxsize=1024)
def _compiled(expression: str) -> Any:
    """Raises ValueError with what is wrong with it."""
    if len(expression) > MAX_LENGTH:
        raise ValueError(f"the expression is longer than {MAX_LENGTH} characters")
    try:
        compiled = re2.compile(expression, _options())
    except re2.error as error:
        raise ValueError(f"'{expression[:100]}' is no RE2 expression: {_said(error)}") from None
    if compiled.programsize > MOST_STEPS:
        raise ValueError(f"'{expression[:100]}' is too large: repeat less in it")
    return compiled


def _said(error: Exception) -> str:
    """RE2 says it in bytes."""
    said = error.args[0] if error.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)


def fault(expression: str) -> str:
    """What is wrong with an expression; empty: nothing."""
    try:
        _compiled(expression)
    except ValueError as error:
        return str(error)
    return ""


def matches(expression: str, text: str) -> bool:
    """Whether the whole text matches; one that cannot be read matches nothing."""
    try:
        return _compiled(expression).fullmatch(text) is not None
    except ValueError:
        return False
