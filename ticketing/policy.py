"""The support policy: one release of the guide = one YAML file under ``programme/``.

No number of the guide stands in code: plans, targets, hours, the escalation matrix, renewal rules and limits
are all read from the release. Several releases live side by side; a contract follows the one in force at its
start or last renewal (ticketing/releases.py). ``docs/support-policy.md`` explains every key.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

import msgspec

Priority = int
"""1 (critical) .. 4 (low)."""
PriorityName = Literal["P1", "P2", "P3", "P4"]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
PRIORITIES: tuple[Priority, ...] = (1, 2, 3, 4)
Count = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
Percent = Annotated[int, msgspec.Meta(ge=1, le=99)]


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class PriorityMeaning(_Strict, frozen=True):
    """What a priority means (§4)."""

    name: str
    meaning: str


class Target(_Strict, frozen=True):
    """Time to take charge. Neither field: best effort, no deadline."""

    minutes: Count | None = None
    """Minutes in the calendar that the plan gives this priority."""
    working_days: Count | None = None
    """Due at the close of the n-th working day after the local date of opening."""


class Plan(_Strict, frozen=True):
    """A support plan (§2 to §4)."""

    name: str
    rank: int
    """Order of the plans: a higher one is an upgrade."""
    hours: Literal["base", "extended"]
    """``extended``: Saturdays and public holidays too."""
    guaranteed: bool
    """False: targets are recorded as best effort and never count as breached."""
    met: Literal["before", "at"]
    """Whether taking charge exactly at the deadline still meets it (``at``)."""
    escalation: bool
    targets: dict[PriorityName, Target]
    around_the_clock: tuple[PriorityName, ...] = ()
    """Priorities served 24x7x365."""


class ClockRules(_Strict, frozen=True):
    at_risk_percent: tuple[Percent, ...]
    """Parts of the target at which a running clock is at risk, ascending."""


class Included(_Strict, frozen=True):
    """The plan that came with the product."""

    plan: str
    years: Count


class Licence(_Strict, frozen=True):
    """A kind of licence and how its cover is renewed (§8, §9)."""

    name: str
    on_premise: bool
    minimum_years: Count
    renewal_from: Literal["grace", "expiry"]
    """``expiry``: always from the old expiry. ``grace``: so within the grace, later from the order."""
    autorenew: bool
    """Whether cover may continue by itself."""
    end_of_support: bool
    """Whether a product's End of Support ends its cover."""
    section: str
    sold_until: date | None = None
    """First day on which this kind was no longer sold."""
    grace_days: Annotated[int, msgspec.Meta(ge=0, le=3650)] = 0
    grace_includes_last_day: bool = True
    included: Included | None = None
    uptime_percent: Annotated[float, msgspec.Meta(gt=0, le=100)] | None = None


class VersionRules(_Strict, frozen=True):
    seasons: tuple[str, ...]
    """In their order within a year."""
    minimum: str
    """``YYYY.Season.N``"""
    report_fresh_h: Count
    """Hours for which an agent's report of the version wins over the registry's."""


class PriorityBounds(_Strict, frozen=True):
    """The most and the least urgent that a ticket of monitoring may be."""

    most: PriorityName = "P1"
    least: PriorityName = "P4"

    def bring(self, priority: Priority) -> Priority:
        """The nearest priority within the bounds."""
        return max(int(self.most[1]), min(priority, int(self.least[1])))


class Proactive(_Strict, frozen=True):
    """Who is eligible for proactive monitoring (§10)."""

    plans: dict[str, tuple[str, ...]]
    """Licence kind -> plans."""
    version: VersionRules
    requires_connection: bool
    requires_data_sending: bool
    priorities: dict[str, PriorityBounds] = {}
    """Plan -> within what an alert's priority is brought; a plan that is not named takes the rule's own."""


class CustomerCall(_Strict, frozen=True):
    """The separate activation of the call to the customer (§10)."""

    plans: tuple[str, ...]
    priorities: tuple[PriorityName, ...]
    contacts: Annotated[int, msgspec.Meta(ge=0)]
    """Customer contacts reachable 24 h that it needs."""
    asia_pacific: bool


class OnCall(_Strict, frozen=True):
    """Who reaches the on-call technician (§6.1)."""

    plans: tuple[str, ...]
    priorities: tuple[PriorityName, ...]
    licences: tuple[str, ...]
    channels: tuple[str, ...]
    asia_pacific: bool
    languages: tuple[str, ...]
    rd_escalation: bool
    first_level: bool
    customer_call: CustomerCall
    asia_pacific_zones: tuple[str, ...]
    """IANA zones; a name that ends in ``/*`` stands for all below."""


class EscalationStep(_Strict, frozen=True):
    after_h: Count
    """Working hours since opening."""
    role: str


class Escalation(_Strict, frozen=True):
    roles: dict[str, str]
    """Key -> name."""
    steps: dict[PriorityName, tuple[EscalationStep, ...]]


class HolidayRules(_Strict, frozen=True):
    from_: Literal["customer", "theatre"] = msgspec.field(name="from")
    closing_days: Literal["closed", "holiday"]


class Theatre(_Strict, frozen=True):
    """A region of the world with its team's hours and languages (§5.3)."""

    name: str
    zone: str
    country: str
    working_days: tuple[Weekday, ...]
    hours: str
    special_days: tuple[Weekday, ...]
    """Weekdays on which plans with extended hours are served at ``special_hours``; so are holidays."""
    special_hours: str
    languages: tuple[str, ...]
    optional_languages: tuple[str, ...]
    """Handled where possible, without guaranteed SLA."""
    phone: str


class RestOfWorld(_Strict, frozen=True):
    hours_of: tuple[str, ...]
    """Theatres to choose from by the nearest UTC offset; the first wins a tie."""
    languages_of: str


class Channel(_Strict, frozen=True):
    """A way by which tickets are opened (§5)."""

    sla: bool
    """False: no target for tickets opened this way."""
    escalation: bool = True
    """Whether the matrix applies to them."""


class Release(_Strict, frozen=True):
    """One release of the guide."""

    release: str
    title: str
    valid_from: date
    priorities: dict[PriorityName, PriorityMeaning]
    plans: dict[str, Plan]
    clock: ClockRules
    licences: dict[str, Licence]
    proactive: Proactive
    on_call: OnCall
    escalation: Escalation
    languages: tuple[str, ...]
    holidays: HolidayRules
    theatres: dict[str, Theatre]
    rest_of_world: RestOfWorld
    channels: dict[str, Channel]

    def target(self, plan: str, priority: Priority) -> Target:
        """Time to take charge of a priority on a plan."""
        return self.plans[plan].targets[priority_name(priority)]

    def steps(self, plan: str, priority: Priority, channel: str) -> tuple[EscalationStep, ...]:
        """The row of the escalation matrix; empty where plan or channel have none."""
        escalates = self.plans[plan].escalation and self.channels[channel].escalation
        return self.escalation.steps[priority_name(priority)] if escalates else ()

    def around_the_clock(self, plan: str, priority: Priority) -> bool:
        """Whether the plan serves this priority 24x7."""
        return priority_name(priority) in self.plans[plan].around_the_clock


_NAMES: dict[Priority, PriorityName] = {1: "P1", 2: "P2", 3: "P3", 4: "P4"}


def priority_name(priority: Priority) -> PriorityName:
    """1 -> ``P1``."""
    return _NAMES[priority]


def priority_of(name: str) -> Priority:
    """``P1`` (or ``p1``, or ``1``) -> 1. Raises ValueError."""
    for priority, known in _NAMES.items():
        if name.upper() in (known, str(priority)):
            return priority
    raise ValueError(f"'{name}' is no priority: write P1, P2, P3 or P4")
