"""A database that is looked into over one short connection per look, as long as its driver keeps to PEP 249.

Nothing is kept between two looks: a connection that stays stands in the way of whoever drops, renames or
copies the database.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib import import_module
from typing import Any, ClassVar

from agent.databases import CONNECT_S, Blind, DatabaseRule, State, Unreachable, no_driver, password_of


class VisitedDatabase(ABC):
    """The watched database; an engine says how to connect and ask, and what its driver's errors mean."""

    engine: ClassVar[str]
    driver: ClassVar[str]
    """Its module, which is loaded only where such a database is watched."""

    def __init__(self, rule: DatabaseRule) -> None:
        self._rule = rule

    def close(self) -> None:  # noqa: B027 - nothing to do is the point
        """Nothing is kept."""

    def look(self) -> State:
        """One look; raises Unreachable or Blind."""
        try:
            driver = import_module(self.driver)
        except ImportError:
            raise no_driver(self.engine) from None
        login = {
            "host": self._rule.host,
            "port": self._rule.port,
            "user": self._rule.user,
            "password": password_of(self._rule),
            "connect_timeout": CONNECT_S,
            "autocommit": True,
        }
        try:
            return self._visit(login)
        except driver.Error as fault:
            raise self._fault(fault) from None

    @abstractmethod
    def _visit(self, login: dict[str, Any]) -> State:
        """Connect with ``login`` and whatever the driver wants besides, ask, and leave."""

    @abstractmethod
    def _fault(self, fault: Any) -> Unreachable | Blind:
        """What the driver's error says about the database, and what can be done."""
