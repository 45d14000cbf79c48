"""The alert API: bound to the caller's tenant, with every refusal a problem."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from alerting.api import router
from alerting.settings import Settings
from storage.pool import Pool
from tests.alerting.kit import START, evaluator_in, event, ingest, seed
from tests.mounted import mounted
from wire.access import Principal, Role

ADMIN = Principal("admin", Role.ADMIN)


class Api:
    """The room's routes behind a caller that the test chooses."""

    def __init__(self, pool: Pool) -> None:
        self.who = ADMIN
        app = mounted(router(pool, Settings(), lambda: START), lambda: self.who)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")

    async def get(self, path: str, who: Principal = ADMIN, **params: Any) -> httpx.Response:
        self.who = who
        return await self.client.get(path, params=params or None)


@pytest_asyncio.fixture
async def api(pool: Pool) -> AsyncIterator[Api]:
    made = Api(pool)
    async with made.client:
        yield made


async def two_tenants(pool: Pool) -> None:
    """One firing P1 in each of two tenants."""
    (one,) = await seed(pool)
    (two,) = await seed(pool, tenant="other")
    evaluator = await evaluator_in(pool)
    for scope in (one, two):
        await ingest(pool, evaluator, scope, [event(START, "MSSQLSERVER", "1105", "no space")], START)


async def test_a_customer_sees_its_own_alerts_only(pool: Pool, api: Api) -> None:
    """List, one alert, transitions: another tenant's do not exist for it."""
    await two_tenants(pool)
    everything = (await api.get("/v1/alerts")).json()
    assert [a["tenant"] for a in everything] == ["other", "acme"]
    customer = Principal("acme", Role.READER, tenant_id=1)
    assert [a["tenant"] for a in (await api.get("/v1/alerts", customer)).json()] == ["acme"]
    foreign = everything[0]["alert_id"]
    assert (await api.get(f"/v1/alerts/{foreign}", customer)).status_code == 404
    assert (await api.get(f"/v1/alerts/{foreign}/transitions", customer)).status_code == 404
    elsewhere = Principal("acme", Role.READER, tenant_id=1, deployment_id=99)
    assert (await api.get("/v1/alerts", elsewhere)).json() == []


async def test_alerts_are_filtered_and_paged(pool: Pool, api: Api) -> None:
    """By tenant, state, priority, rule, open; the next page begins below the last id."""
    await two_tenants(pool)
    newest, older = (await api.get("/v1/alerts")).json()
    assert (await api.get("/v1/alerts", before=newest["alert_id"])).json() == [older]
    assert (await api.get("/v1/alerts", tenant="acme", state="firing", priority=1)).json() == [older]
    for nothing in (
        {"state": "resolved"},
        {"priority": 4},
        {"rule": "host.cpu"},
        {"open": False},
        {"muted": True},
    ):
        assert (await api.get("/v1/alerts", **nothing)).json() == []
    assert len((await api.get("/v1/alerts", rule="database.error.full", open=True, muted=False)).json()) == 2


async def test_an_alert_tells_its_story(pool: Pool, api: Api) -> None:
    """Transitions with readable reasons, also from a number on."""
    await two_tenants(pool)
    (alert,) = (await api.get("/v1/alerts", tenant="acme")).json()
    path = f"/v1/alerts/{alert['alert_id']}/transitions"
    (step,) = (await api.get(path)).json()
    assert (step["seq"], step["to_state"], step["reason"]) == (1, "firing", "MSSQLSERVER 1105: no space")
    assert (await api.get(path, after=1)).json() == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/alerts?host=0",
        "/v1/alerts?before=99999999999999999999",
        "/v1/alerts?limit=100000",
        "/v1/alerts?state=broken",
        "/v1/alerts?priority=9",
        "/v1/alerts?tenant=%00",
        "/v1/alerts?tenant=%F0%9F%92%A9",
        "/v1/alerts/99999999999999999999",
        "/v1/alerts/x/transitions",
        "/v1/alerts/1/transitions?after=-1",
        "/v1/rule-overrides?tenant=UPPER",
    ],
)
async def test_bad_input_is_refused(api: Api, path: str) -> None:
    """422 with the field, never a 5xx."""
    assert (await api.get(path)).status_code == 422


async def test_rules_and_alarms_are_for_our_own_staff(api: Api) -> None:
    """A customer's key, whatever its role, gets 403."""
    customer = Principal("acme", Role.ADMIN, tenant_id=1)
    for path in ("/v1/rules", "/v1/rules/failing", "/v1/operations-alarms", "/v1/rule-overrides?tenant=acme"):
        assert (await api.get(path, customer)).status_code == 403
        assert (await api.get(path)).status_code == 200


async def test_an_override_is_set_listed_and_removed(pool: Pool, api: Api) -> None:
    """By names; a faulty document is refused with line and field; a host needs its deployment."""
    await seed(pool)
    await evaluator_in(pool)
    document = "rule: host.cpu\nreason: busy\nlevels: {P2: off}"
    body = {"tenant": "acme", "deployment": "site", "host": "node-1", "document": document}
    api.who = ADMIN
    assert (await api.client.put("/v1/rule-overrides", json=body)).status_code == 200
    (found,) = (await api.get("/v1/rule-overrides", tenant="acme")).json()
    assert (found["host"], found["rule"], found["author"]) == ("node-1", "host.cpu", "admin")
    bad = await api.client.put("/v1/rule-overrides", json=body | {"document": "rule: ghost\nreason: x"})
    assert (bad.status_code, bad.json()["errors"][0]["field"]) == (422, "document:1:rule")
    assert (await api.client.put("/v1/rule-overrides", json=body | {"deployment": None})).status_code == 422
    assert (await api.client.put("/v1/rule-overrides", json=body | {"host": "ghost"})).status_code == 404
    params = {"tenant": "acme", "deployment": "site", "host": "node-1", "rule": "host.cpu"}
    assert (await api.client.delete("/v1/rule-overrides", params=params)).status_code == 204
    assert (await api.client.delete("/v1/rule-overrides", params=params)).status_code == 404


async def test_a_pack_is_loaded_and_a_faulty_one_refused(api: Api) -> None:
    """The rules in force change only with a pack that has no fault."""
    api.who = ADMIN
    bad = await api.client.put("/v1/rules", json={"name": "x", "document": "version: 1\nname: x\nrules: 5"})
    assert bad.status_code == 422
    assert len((await api.get("/v1/rules")).json()) > 30
    good = await api.client.put(
        "/v1/rules", json={"name": "none", "document": "version: 1\nname: none\nrules: []"}
    )
    assert good.status_code == 200
    assert (await api.get("/v1/rules")).json() == []
