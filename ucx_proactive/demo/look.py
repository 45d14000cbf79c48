"""Looks at the running product through its own HTTP API, as any user of it would."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Self

import httpx

from ticketing.notify.reasons import told
from ucx_proactive.demo.story import Facts, Line

Document = dict[str, Any]
_READINGS = ("system.cpu.utilization", "system.memory.utilization")


class Looker:
    """One look after the other at one tenant's only host; decisions are read in ``language``."""

    def __init__(self, address: str, key: str, tenant: str, rule: str, language: str) -> None:
        self._http = httpx.Client(
            base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=10, trust_env=False
        )
        self._tenant = tenant
        self._rule = rule
        self._language = language
        self._first_sample_at: datetime | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def facts(self) -> Facts:
        """Everything that is known now."""
        hosts = self._get("/v1/hosts", tenant=self._tenant)
        if not hosts or hosts[0]["newest_sample_at"] is None:
            return Facts()
        host_id = hosts[0]["host_id"]
        known = self._readings(host_id) | self._alert() | self._ticket()
        return Facts(**known)

    def _get(self, path: str, **query: Any) -> Any:
        response = self._http.get(path, params=query)
        response.raise_for_status()
        return response.json()

    def _readings(self, host_id: int) -> Document:
        latest = self._get(f"/v1/hosts/{host_id}/latest")
        if self._first_sample_at is None:
            self._first_sample_at = self._oldest(host_id)
        values = {item["metric"]: item["value"] for item in latest if item["value"] is not None}
        words = [f"{name} {values[name]:.0%}" for name in _READINGS if name in values]
        return {
            "first_sample_at": self._first_sample_at,
            "reading": ", ".join(words),
            "stored": len(latest),
        }

    def _oldest(self, host_id: int) -> datetime | None:
        charts = self._get("/v1/series", host=host_id, metric="system.cpu.utilization", points=5000)
        times = [point["at"] for chart in charts for point in chart["points"]]
        return datetime.fromisoformat(min(times)) if times else None

    def _alert(self) -> Document:
        alerts = self._get("/v1/alerts", tenant=self._tenant, rule=self._rule, limit=1)
        if not alerts:
            return {}
        alert = alerts[0]
        steps = self._get(f"/v1/alerts/{alert['alert_id']}/transitions")
        fired = [step["reason"] for step in steps if step["to_state"] == "firing"]
        refused = self._get("/v1/no-tickets", tenant=self._tenant, alert=alert["alert_id"], limit=1)
        return {
            "alert_id": alert["alert_id"],
            "alert_state": alert["state"],
            "alert_since": datetime.fromisoformat(alert["since"]),
            "alert_summary": alert["summary"],
            "alert_reason": fired[0] if fired else "",
            "refused": bool(refused),
            "decision": tuple(told(refused[0]["decision"], self._language)) if refused else (),
        }

    def _ticket(self) -> Document:
        tickets = self._get("/v1/tickets", tenant=self._tenant, limit=100)["tickets"]
        tickets = [ticket for ticket in tickets if self._rule in ticket["problem_key"].split("/")]
        if not tickets:
            return {}
        ticket = self._get(f"/v1/tickets/{tickets[0]['number']}", language=self._language)
        taken_at = ticket["taken_at"]
        return {
            "ticket_number": ticket["number"],
            "ticket_priority": ticket["priority"],
            "ticket_state": ticket["state"],
            "ticket_opened_at": datetime.fromisoformat(ticket["opened_at"]),
            "ticket_due_at": datetime.fromisoformat(ticket["due_at"]) if ticket["due_at"] else None,
            "ticket_taken_by": ticket["taken_by"] or "",
            "acknowledged_at": datetime.fromisoformat(taken_at) if taken_at else None,
            "decision": tuple(reason["text"] for reason in ticket["decision"]),
        } | self._paging()

    def _paging(self) -> Document:
        stories = self._get("/v1/oncall/pages", limit=1)["pages"]
        lines = stories[0]["timeline"] if stories else []
        return {
            "paging": tuple(
                Line(line["no"], datetime.fromisoformat(line["at"]), line["kind"], line["text"])
                for line in lines
            )
        }
