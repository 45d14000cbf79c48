"""What ``doctor`` says: one answer to one question."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(NamedTuple):
    """The answer to one question."""

    subject: str
    level: Level
    what: str
    do: str = ""
    """What the administrator can do; empty when nothing is to be done."""


def ok(subject: str, what: str) -> Finding:
    return Finding(subject, Level.OK, what)


def warning(subject: str, what: str, do: str) -> Finding:
    return Finding(subject, Level.WARNING, what, do)


def problem(subject: str, what: str, do: str) -> Finding:
    return Finding(subject, Level.PROBLEM, what, do)
