"""One customer's key never shows another customer's rows: every route of the whole application is tried."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from tests.collector.kit import Front, event
from wire.access import Role

SECRET = "secretcustomer"


async def seed(front: Front) -> dict[str, list[str]]:
    """A customer whose every name holds SECRET; the ids of its rows, by the parameter that asks."""
    agent = await front.agent(f"{SECRET}-host", SECRET, f"{SECRET}-site")
    await agent.send((front.clock() - timedelta(seconds=10), [0.99, 0.99]))
    await agent.post(
        agent.batch(events=[event(front.clock() - timedelta(seconds=5), f"{SECRET} happened", where=SECRET)])
    )
    await front.enrolment_token(SECRET, f"{SECRET}-site")
    await front.key(Role.READER, SECRET)
    await _seed_alert_and_ticket(front)
    async with front.pool.connection() as conn:
        row = await (await conn.execute("SELECT tenant_id, host_id FROM host")).fetchone()
    assert row is not None
    tenant_id, host = str(row[0]), str(row[1])
    ids = {"host_id": [host], "host": [host], "tenant_id": [tenant_id], "tenant": [SECRET, tenant_id]}
    return ids | {"agent_id": [agent.agent_id], "number": ["UCX-2026-000001"]}


async def _seed_alert_and_ticket(front: Front) -> None:
    statements = (
        """INSERT INTO alert (tenant_id, deployment_id, host_id, rule_id, problem_key, state, priority, since,
                              fired_at, summary, last_seq, changed_at)
           SELECT tenant_id, deployment_id, host_id, 'cpu', %(secret)s, 'firing', 1, %(now)s, %(now)s,
                  %(secret)s, 1, %(now)s FROM host""",
        """INSERT INTO alert_transition
               (tenant_id, alert_id, seq, at, recorded_at, to_state, priority, reason)
           SELECT tenant_id, alert_id, 1, %(now)s, %(now)s, 'firing', 1, %(secret)s FROM alert""",
        """INSERT INTO ticket (tenant_id, number, deployment_id, host_id, alert_id, problem_key, channel,
                               priority, state, title, opened_at, terms, decision)
           SELECT tenant_id, 'UCX-2026-000001', deployment_id, host_id, alert_id, problem_key, 'proactive',
                  1, 'new', %(secret)s, %(now)s, '{}', '{}' FROM alert""",
        """INSERT INTO page_request (tenant_id, ticket_id, audience, policy, requested_at, reason)
           SELECT tenant_id, ticket_id, 'technician', 'default', %(now)s, %(secret)s FROM ticket""",
    )
    async with front.pool.connection() as conn:
        for statement in statements:
            await conn.execute(statement, {"secret": SECRET, "now": front.clock()})


def requests(document: dict[str, Any], ids: dict[str, list[str]]) -> list[tuple[str, str, dict[str, str]]]:
    """Every operation of the API's document, once per id that fits its parameters and once without."""
    found = []
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            parameters = operation.get("parameters", [])
            for choice in range(2):
                url, query = path, {}
                for parameter in parameters:
                    name = parameter["name"]
                    values = ids.get(name, [next(iter(ids["host_id"])), "1"])
                    value = values[min(choice, len(values) - 1)]
                    if parameter["in"] == "path":
                        url = url.replace(f"{{{name}}}", value)
                    elif parameter["in"] == "query" and (parameter.get("required") or name in ids):
                        query[name] = value
                found += [(method.upper(), url, query), (method.upper(), url, {})]
    return found


async def test_no_route_shows_another_customers_data(front: Front) -> None:
    """With a reader's, a support person's and an admin's key of another customer: SECRET appears nowhere, and
    nothing of the customer's is changed."""
    ids = await seed(front)
    await front.customer("acme")
    document = (await front.http.get("/openapi.json")).json()
    tried = 0
    for role in (Role.READER, Role.SUPPORT, Role.ADMIN):
        key = await front.key(role, "acme")
        for method, path, query in requests(document, ids):
            body = json.dumps({"reason": "x", "person": "x", "at": front.clock().isoformat()})
            headers = key | {"Content-Type": "application/json"}
            content = None if method == "GET" else body
            answer = await front.http.request(method, path, params=query, headers=headers, content=content)
            shown = answer.text.replace(path, "")
            assert SECRET not in shown or answer.status_code in (404, 422), (method, path, query, answer.text)
            assert answer.status_code < 500, (method, path, query, answer.text)
            tried += 1
        assert (await front.http.get("/v1/hosts", headers=key)).json() == []  # the key is still good
    assert tried > 100
    assert await front.count("ticket WHERE state = 'new'") == 1
    assert await front.count("agent WHERE revoked_at IS NULL") == 1
    assert await front.count("page_request WHERE ended_at IS NULL") == 1


async def test_the_probe_finds_what_it_looks_for(front: Front) -> None:
    """The twin: with the staff's key the same requests do show SECRET, so the test above can see."""
    ids = await seed(front)
    staff = await front.key(Role.ADMIN)
    document = (await front.http.get("/openapi.json")).json()
    shown = set()
    for method, path, query in requests(document, ids):
        if method == "GET":
            answer = await front.http.get(path, params=query, headers=staff)
            if SECRET in answer.text:
                shown.add(path)
    assert {"/v1/hosts", "/v1/events", "/v1/agents", "/v1/enrolment-tokens", "/v1/api-keys"} <= shown
