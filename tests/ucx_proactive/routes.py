"""Every address of the whole application: who may ask, and a request that is right in all but the asker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from wire.access import Role


class Access(StrEnum):
    """Who may ask. Where it names a role, higher ones may too; a customer's key sees its own."""

    ANYBODY = "tells nothing of customers, or checks a proof in the request itself"
    SIGNED = "a provider, by its signature"
    LINK = "whoever was sent the link"
    AGENT = "an agent, by its signed token"
    PUSH = "a key of one deployment, of an integration or of support"
    READER = "reader"
    SUPPORT = "support"
    ADMIN = "admin"
    CUSTOMER_WIDE = "support, with a key of more than one deployment"
    STAFF_READER = "the vendor's own reader"
    STAFF_SUPPORT = "the vendor's own support"
    STAFF_ADMIN = "the vendor's own admin"


STAFF = (Access.STAFF_READER, Access.STAFF_SUPPORT, Access.STAFF_ADMIN)
ROLES = {
    Access.READER: Role.READER,
    Access.SUPPORT: Role.SUPPORT,
    Access.ADMIN: Role.ADMIN,
    Access.CUSTOMER_WIDE: Role.SUPPORT,
    Access.STAFF_READER: Role.READER,
    Access.STAFF_SUPPORT: Role.SUPPORT,
    Access.STAFF_ADMIN: Role.ADMIN,
}
_ABOVE = {
    Role.AGENT: (),
    Role.INTEGRATION: (),
    Role.READER: (Role.READER,),
    Role.SUPPORT: (Role.READER, Role.SUPPORT),
    Role.ADMIN: (Role.READER, Role.SUPPORT, Role.ADMIN),
}


@dataclass(frozen=True)
class Who:
    """A key, and what it is bound to."""

    role: Role
    bound: str
    """``staff``, ``tenant`` or ``deployment``."""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.role} of a {self.bound}"


def may(who: Who, access: Access) -> bool:
    """Whether this key is let in at all (what it then sees is another matter)."""
    if access is Access.PUSH:
        return who.bound == "deployment" and who.role in (Role.INTEGRATION, Role.SUPPORT, Role.ADMIN)
    if access in STAFF and who.bound != "staff":
        return False
    if access is Access.CUSTOMER_WIDE and who.bound == "deployment":
        return False
    return ROLES[access] in _ABOVE[who.role]


@dataclass(frozen=True)
class Ids:
    """Names and numbers of one customer's site and all that hangs on it."""

    tenant: str
    deployment: str
    host: str
    tenant_id: int
    deployment_id: int
    host_id: int
    alert_id: int
    number: str
    ticket_id: int
    page_request_id: int
    page_id: str
    booking_id: int
    silence_id: str
    window_id: str
    agent_id: str
    api_key_id: int
    now: datetime

    def at(self, hours: float) -> str:
        """A time from now, as requests write it."""
        return (self.now + timedelta(hours=hours)).isoformat()


Body = Callable[[Ids], Any]


@dataclass(frozen=True)
class Probe:
    """One request. ``path`` as the application's own table of routes has it."""

    method: str
    path: str
    access: Access
    body: Body | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    """Values are templates over the ids, as ``path`` is."""
    text: bool = False
    """The body is text, not JSON."""

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def names_something(self) -> bool:
        """Whether the request names anything; else it only lists."""
        return "{" in self.path or bool(self.query) or self.body is not None

    def url(self, ids: Ids) -> str:
        return self.path.format_map(_Parts(ids))

    def parameters(self, ids: Ids) -> dict[str, str]:
        return {name: value.format_map(_Parts(ids)) for name, value in self.query.items()}


_FIXED = {
    "digest": "0" * 64,
    "alarm_id": "1",
    "token": "x" * 43,
    "person": "technician",
    "source": "calendar",
    "feed_id": "1",
    "override_id": "00000000-0000-4000-8000-000000000001",
    "test_id": "00000000-0000-4000-8000-000000000002",
}


class _Parts(dict[str, str]):
    """Parameters of a path, by name."""

    def __init__(self, ids: Ids) -> None:
        super().__init__(_FIXED)
        self._ids = ids

    def __missing__(self, name: str) -> str:
        if name == "mute_id":
            return self._ids.silence_id
        return str(getattr(self._ids, name))


def _window(ids: Ids) -> dict[str, Any]:
    site = {"tenant": ids.tenant, "deployment": ids.deployment}
    return site | {"title": "night work", "starts_at": ids.at(1), "ends_at": ids.at(2)}


def _calendar(ids: Ids) -> dict[str, Any]:
    lines = ("BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN", "END:VCALENDAR", "")
    site = {"tenant": ids.tenant, "deployment": ids.deployment}
    return site | {"calendar": "\r\n".join(lines), "dry_run": True}


def _silence(ids: Ids) -> dict[str, Any]:
    matcher = {"label": "deployment", "op": "=", "pattern": ids.deployment}
    return {"tenant": ids.tenant, "matchers": [matcher], "reason": "known", "ends_at": ids.at(1)}


def _foreign_silence(ids: Ids, silence_id: str | None = None) -> dict[str, Any]:
    names = {"tenant": ids.tenant, "deployment": ids.deployment}
    matchers = [{"name": n, "value": v, "isRegex": False} for n, v in names.items()]
    times = {"startsAt": ids.at(0), "endsAt": ids.at(1)}
    return {"id": silence_id, "matchers": matchers, "createdBy": "me", "comment": "known"} | times


def _booking(ids: Ids) -> dict[str, Any]:
    site = {"tenant": ids.tenant, "deployment": ids.deployment}
    return site | {"from_at": ids.at(1), "until_at": ids.at(2), "reason": "move"}


def _ticket(ids: Ids) -> dict[str, Any]:
    site = {"tenant": ids.tenant, "deployment": ids.deployment}
    return site | {"channel": "portal", "priority": 3, "title": "slow", "problem": "mine"}


def _site(ids: Ids) -> dict[str, str]:
    return {"tenant": ids.tenant, "deployment": ids.deployment}


def _key(role: str) -> Body:
    return lambda ids: {"name": f"new {role} {ids.at(0)}", "role": role} | _site(ids)


def _pack(ids: Ids) -> dict[str, str]:
    return {"name": "ours", "document": "version: 1\nrules: []\n"}


def _override(ids: Ids) -> dict[str, str | None]:
    return _site(ids) | {"host": None, "document": "rule: cpu\n"}


def _rota_override(ids: Ids) -> dict[str, str]:
    times = {"start": ids.at(1), "end": ids.at(2)}
    return {"schedule": "first", "person": "technician"} | times


def _replacement(ids: Ids) -> dict[str, str]:
    keys = {"old_key": "A" * 43, "new_key": "A" * 43}
    return keys | {"signed_by_old": "A" * 86, "signed_by_new": "A" * 86}


_SPAN = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"}
_VIA = {"via": "nobody"}
_ROOM = "/v1/oncall"
A = Access

PROBES = (
    # what needs no credential
    Probe("GET", "/healthz", A.ANYBODY),
    Probe("GET", "/readyz", A.ANYBODY),
    Probe("GET", "/metrics", A.ANYBODY),
    Probe("GET", "/openapi.json", A.ANYBODY),
    Probe(
        "POST",
        "/v1/enrol",
        A.ANYBODY,
        lambda i: {"token": "ucxe_" + "x" * 43, "host_name": i.host, "public_key": "A" * 43},
    ),
    # agents
    Probe("POST", "/v1/batches", A.AGENT, lambda i: {}),
    Probe("PUT", "/v1/layouts/{digest}", A.AGENT, lambda i: {}),
    Probe("GET", "/v1/agent", A.AGENT),
    Probe("POST", "/v1/agent/key", A.AGENT, _replacement),
    Probe("PUT", "/v1/agent/facts", A.AGENT, lambda i: {"facts": {"os": "mine"}}),
    # hosts and what they measured
    Probe("GET", "/v1/hosts", A.READER),
    Probe("GET", "/v1/hosts", A.READER, query={"tenant": "{tenant}", "deployment": "{deployment}"}),
    Probe("GET", "/v1/hosts/{host_id}", A.READER),
    Probe("GET", "/v1/hosts/{host_id}/latest", A.READER),
    Probe("GET", "/v1/series", A.READER, query={"host": "{host_id}", "metric": "system.cpu.utilization"}),
    Probe("GET", "/v1/events", A.READER, query={"host": "{host_id}"}),
    Probe("GET", "/v1/agents", A.READER),
    Probe("POST", "/v1/agents/{agent_id}/revoke", A.ADMIN, lambda i: None),
    Probe("GET", "/v1/api-keys", A.ADMIN),
    Probe("POST", "/v1/api-keys", A.ADMIN, _key("reader")),
    Probe("POST", "/v1/api-keys", A.ADMIN, _key("admin")),
    Probe(
        "POST",
        "/v1/api-keys",
        A.ADMIN,
        lambda i: {"name": f"all {i.at(0)}", "role": "admin", "tenant": i.tenant},
    ),
    Probe("DELETE", "/v1/api-keys/{api_key_id}", A.ADMIN),
    Probe("GET", "/v1/enrolment-tokens", A.ADMIN),
    Probe("POST", "/v1/enrolment-tokens", A.ADMIN, _site),
    # alerts
    Probe("GET", "/v1/alerts", A.READER),
    Probe("GET", "/v1/alerts", A.READER, query={"tenant": "{tenant}", "host": "{host_id}"}),
    Probe("GET", "/v1/alerts/{alert_id}", A.READER),
    Probe("GET", "/v1/alerts/{alert_id}/transitions", A.READER),
    Probe("GET", "/v1/alerts/{alert_id}/comments", A.READER),
    Probe("POST", "/v1/alerts/{alert_id}/comments", A.SUPPORT, lambda i: {"text": "mine"}),
    Probe("POST", "/v1/alerts/{alert_id}/acknowledge", A.SUPPORT, lambda i: {"note": "mine"}),
    Probe("GET", "/v1/alerts/stream", A.READER),
    Probe("GET", "/v1/rules/failing", A.STAFF_SUPPORT),
    Probe("GET", "/v1/operations-alarms", A.STAFF_SUPPORT),
    Probe("POST", "/v1/operations-alarms/{alarm_id}/release", A.STAFF_SUPPORT, lambda i: None),
    Probe("GET", "/v1/rules", A.STAFF_READER),
    Probe("PUT", "/v1/rules", A.STAFF_ADMIN, _pack),
    Probe("GET", "/v1/rule-overrides", A.STAFF_READER, query={"tenant": "{tenant}"}),
    Probe("PUT", "/v1/rule-overrides", A.STAFF_ADMIN, _override),
    Probe("DELETE", "/v1/rule-overrides", A.STAFF_ADMIN, query={"tenant": "{tenant}", "rule": "cpu"}),
    # silences and windows
    Probe("GET", "/v1/silences", A.READER),
    Probe("GET", "/v1/silences", A.READER, query={"tenant": "{tenant}"}),
    Probe("POST", "/v1/silences", A.CUSTOMER_WIDE, _silence),
    Probe("DELETE", "/v1/silences/{tenant}/{mute_id}", A.CUSTOMER_WIDE),
    Probe("GET", "/v1/maintenance", A.READER),
    Probe("POST", "/v1/maintenance", A.CUSTOMER_WIDE, _window),
    Probe("POST", "/v1/maintenance", A.CUSTOMER_WIDE, lambda i: _window(i) | {"zone": "Europe/Rome"}),
    Probe("POST", "/v1/maintenance", A.CUSTOMER_WIDE, lambda i: _window(i) | {"ends_at": i.at(-9)}),
    Probe("POST", "/v1/maintenance/import", A.CUSTOMER_WIDE, _calendar),
    Probe("DELETE", "/v1/maintenance/{tenant}/{mute_id}", A.CUSTOMER_WIDE),
    # the Alertmanager's API
    Probe("GET", "/api/v2/status", A.READER),
    Probe("GET", "/api/v2/receivers", A.READER),
    Probe("GET", "/api/v2/alerts", A.READER),
    Probe("GET", "/api/v2/alerts/groups", A.READER),
    Probe("POST", "/api/v2/alerts", A.PUSH, lambda i: [{"labels": {"alertname": "Own", **_site(i)}}]),
    Probe("GET", "/api/v2/silences", A.READER),
    Probe("GET", "/api/v2/silence/{silence_id}", A.READER),
    Probe("POST", "/api/v2/silences", A.SUPPORT, _foreign_silence),
    Probe("POST", "/api/v2/silences", A.SUPPORT, lambda i: _foreign_silence(i, i.silence_id)),
    Probe("POST", "/api/v2/silences", A.SUPPORT, lambda i: _foreign_silence(i, i.window_id)),
    Probe("DELETE", "/api/v2/silence/{silence_id}", A.SUPPORT),
    # tickets
    Probe("GET", "/v1/tickets", A.READER),
    Probe("GET", "/v1/tickets", A.READER, query={"tenant": "{tenant}", "deployment": "{deployment}"}),
    Probe("GET", "/v1/tickets/{number}", A.READER),
    Probe("POST", "/v1/tickets", A.SUPPORT, _ticket),
    Probe("POST", "/v1/tickets/{number}/acts", A.SUPPORT, lambda i: {"act": "note", "reason": "mine"}),
    Probe("POST", "/v1/tickets/{number}/acts", A.SUPPORT, lambda i: {"act": "resolve", "reason": "mine"}),
    Probe("POST", "/v1/tickets/{number}/acts", A.SUPPORT, lambda i: {"act": "take"}),
    Probe("GET", "/v1/bookings", A.READER),
    Probe("POST", "/v1/bookings", A.SUPPORT, _booking),
    Probe("POST", "/v1/bookings/{booking_id}/cancel", A.SUPPORT, lambda i: None),
    Probe("GET", "/v1/no-tickets", A.READER),
    Probe("GET", "/v1/no-tickets", A.READER, query={"tenant": "{tenant}", "alert": "{alert_id}"}),
    Probe("GET", "/v1/desk", A.STAFF_SUPPORT),
    Probe(
        "POST",
        "/v1/desk/retry",
        A.STAFF_SUPPORT,
        lambda i: {"kind": "ticket", "tenant_id": i.tenant_id, "id": i.ticket_id},
    ),
    Probe("GET", "/v1/registry", A.STAFF_ADMIN),
    Probe("POST", "/v1/registry/plan", A.STAFF_ADMIN, lambda i: {}),
    Probe("POST", "/v1/registry/apply", A.STAFF_ADMIN, lambda i: {}),
    Probe("GET", "/v1/registry/changes", A.STAFF_ADMIN),
    Probe("GET", "/v1/registry/tenants/{tenant}/deployments/{deployment}", A.READER),
    # on-call
    Probe("GET", f"{_ROOM}/pages", A.STAFF_READER),
    Probe("GET", f"{_ROOM}/timelines/{{number}}", A.READER),
    Probe(
        "POST",
        f"{_ROOM}/page-requests/{{tenant_id}}/{{page_request_id}}/acknowledge",
        A.STAFF_SUPPORT,
        lambda i: {"person": "technician"},
    ),
    Probe("GET", f"{_ROOM}/rota", A.STAFF_READER),
    Probe("PUT", f"{_ROOM}/rota", A.STAFF_ADMIN, lambda i: "{}", text=True),
    Probe("GET", f"{_ROOM}/schedules", A.STAFF_READER),
    Probe("GET", f"{_ROOM}/who", A.STAFF_READER),
    Probe("GET", f"{_ROOM}/shifts", A.STAFF_READER, query=_SPAN),
    Probe("GET", f"{_ROOM}/gaps", A.STAFF_READER, query=_SPAN),
    Probe("GET", f"{_ROOM}/fairness", A.STAFF_READER, query=_SPAN),
    Probe("GET", f"{_ROOM}/gaps/newest", A.STAFF_READER),
    Probe("GET", f"{_ROOM}/overrides", A.STAFF_READER),
    Probe("POST", f"{_ROOM}/overrides", A.STAFF_SUPPORT, _rota_override),
    Probe("DELETE", f"{_ROOM}/overrides/{{override_id}}", A.STAFF_SUPPORT),
    Probe("PUT", f"{_ROOM}/absences/{{person}}/{{source}}", A.STAFF_SUPPORT, lambda i: "", text=True),
    Probe("GET", f"{_ROOM}/feeds", A.STAFF_SUPPORT),
    Probe("POST", f"{_ROOM}/feeds", A.STAFF_SUPPORT, lambda i: {"kind": "person", "name": "technician"}),
    Probe("DELETE", f"{_ROOM}/feeds/{{feed_id}}", A.STAFF_SUPPORT),
    Probe("GET", f"{_ROOM}/test-calls", A.STAFF_READER),
    Probe("GET", f"{_ROOM}/pins", A.STAFF_ADMIN),
    Probe("POST", f"{_ROOM}/pins", A.STAFF_ADMIN, _site),
    Probe("POST", f"{_ROOM}/pins/rotate", A.STAFF_ADMIN, _site),
    Probe("POST", f"{_ROOM}/pins/revoke", A.STAFF_ADMIN, _site),
    # who was sent a link, or signs
    Probe("GET", f"{_ROOM}/answer/{{tenant_id}}/{{page_id}}", A.LINK, query={"token": "0" * 64}),
    Probe(
        "POST", f"{_ROOM}/answer/{{tenant_id}}/{{page_id}}", A.LINK, lambda i: None, query={"token": "0" * 64}
    ),
    Probe("GET", f"{_ROOM}/calendars/{{token}}.ics", A.LINK),
    *(
        Probe(
            "POST",
            f"{_ROOM}/{path}",
            A.SIGNED,
            lambda i: "CallSid=CA1&From=%2B12025550101&Body=4",
            query,
            text=True,
        )
        for path, query in (
            ("voice/{tenant_id}/{page_id}/twiml", _VIA),
            ("voice/{tenant_id}/{page_id}/gather", _VIA),
            ("voice/{tenant_id}/{page_id}/status", _VIA),
            ("sms/inbound", _VIA),
            ("sms/{tenant_id}/{page_id}/status", _VIA),
            ("drill/{test_id}/twiml", _VIA),
            ("drill/{test_id}/key", _VIA),
            ("drill/{test_id}/status", _VIA),
            ("inbound/call", _VIA),
            ("inbound/pin", _VIA | {"turn": "1"}),
            ("inbound/confirm", _VIA),
        )
    ),
)
