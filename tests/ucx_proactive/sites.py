"""A customer's site with something of everything in the database, for tests of who sees what."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.collector.kit import Agent, Front, event
from tests.ucx_proactive.routes import Ids
from wire.access import Role


async def seeded(front: Front, tenant: str, deployment: str, said: str) -> tuple[Ids, Agent]:
    """A customer's site with something of everything; ``said`` stands in all its texts."""
    await _registered(front, tenant, deployment, said)
    agent = await front.agent(f"{deployment}-host", tenant, deployment)
    await agent.send((front.clock() - timedelta(seconds=10), [0.99, 0.99]))
    happened = event(front.clock() - timedelta(seconds=5), f"{said} happened", where=said)
    await agent.post(agent.batch(events=[happened]))
    await front.enrolment_token(tenant, deployment)
    await front.key(Role.READER, tenant, deployment)
    return await _rows_of(front, tenant, deployment, said, agent), agent


async def _registered(front: Front, tenant: str, deployment: str, said: str) -> None:
    site = {
        "name": said,
        "licence": "subscription",
        "theatre": "europe",
        "zone": "Europe/Rome",
        "country": "IT",
    }
    proactive = {"opt_in": True, "data_sending": True, "connected": True}
    contract = {"plan": "platinum", "start": "2020-01-01", "end": "2090-01-01"}
    contact = {"name": said, "email": f"{said}@{tenant}.example", "deployments": [deployment]}
    deployed = {deployment: site | {"proactive": proactive, "contract": contract}}
    customer = {"name": tenant, "contacts": {deployment: contact}, "deployments": deployed}
    people = {"technician": {"name": "Technician", "phone": "+12025550101"}}
    document = {"people": people, "tenants": {tenant: customer}}
    staff = await front.key(Role.ADMIN)
    answer = await front.http.post("/v1/registry/apply", json=document, headers=staff)
    assert answer.status_code == 200, answer.text


_STATEMENTS = {
    "alert_id": """INSERT INTO alert (tenant_id, deployment_id, host_id, rule_id, problem_key, state,
            priority, since, fired_at, summary, labels, last_seq, changed_at)
        VALUES (%(tenant_id)s, %(deployment_id)s, %(host_id)s, 'cpu', %(problem)s, 'firing', 1, %(now)s,
                %(now)s, %(said)s, jsonb_build_object('note', %(said)s::text), 1, now())
        RETURNING alert_id""",
    "_1": """INSERT INTO alert_transition (tenant_id, alert_id, seq, at, recorded_at, to_state, priority,
            reason)
        VALUES (%(tenant_id)s, %(alert_id)s, 1, %(now)s, %(now)s, 'firing', 1, %(said)s) RETURNING seq""",
    "_2": """INSERT INTO alert_note (tenant_id, alert_id, kind, at, author, text)
        VALUES (%(tenant_id)s, %(alert_id)s, 'comment', %(now)s, %(said)s, %(said)s) RETURNING note_no""",
    "_3": """INSERT INTO no_ticket (tenant_id, alert_id, seq, decided_at, outcome, decision)
        VALUES (%(tenant_id)s, %(alert_id)s, 1, %(now)s, %(said)s, '[]') RETURNING seq""",
    "_4": """INSERT INTO ticket_alert (tenant_id, ticket_id, alert_id, firing)
        VALUES (%(tenant_id)s, %(ticket_id)s, %(alert_id)s, true) RETURNING alert_id""",
    "page_request_id": """UPDATE page_request SET reason = %(said)s
        WHERE tenant_id = %(tenant_id)s AND ticket_id = %(ticket_id)s RETURNING page_request_id""",
    "_5": """INSERT INTO paging (tenant_id, page_request_id, ticket_id, state, created_at, next_look_at)
        VALUES (%(tenant_id)s, %(page_request_id)s, %(ticket_id)s, 'active', %(now)s, %(now)s)
        RETURNING ticket_id""",
    "page_id": """INSERT INTO page (tenant_id, page_id, page_request_id, person_id, person_name, address,
            transport, step, round, fence, state, provider, created_at)
        SELECT %(tenant_id)s, gen_random_uuid(), %(page_request_id)s, person_id, %(said)s, phone, 'voice', 0,
               1, 1, 'ringing', 'p', %(now)s FROM person WHERE key = 'technician' RETURNING page_id::text""",
    "_6": """INSERT INTO page_event (tenant_id, page_request_id, page_id, at, kind, text)
        VALUES (%(tenant_id)s, %(page_request_id)s, %(page_id)s, %(now)s, 'call', %(said)s)
        RETURNING event_no""",
    "booking_id": """INSERT INTO on_call_booking (tenant_id, deployment_id, from_at, until_at, reason,
            agreed_by, agreed_at)
        VALUES (%(tenant_id)s, %(deployment_id)s, %(now)s, %(now)s::timestamptz + interval '1 day', %(said)s,
                %(said)s, %(now)s) RETURNING booking_id""",
    "_7": """INSERT INTO on_call_pin (tenant_id, deployment_id, digest, issued_at, issued_by)
        VALUES (%(tenant_id)s, %(deployment_id)s, %(said)s::text::bytea, %(now)s, %(said)s)
        RETURNING pin_id""",
    "api_key_id": """SELECT api_key_id FROM api_key
        WHERE tenant_id = %(tenant_id)s AND deployment_id = %(deployment_id)s""",
}


async def _rows_of(front: Front, tenant: str, deployment: str, said: str, agent: Agent) -> Ids:
    staff = await front.key(Role.ADMIN)
    site: dict[str, Any] = {"tenant": tenant, "deployment": deployment}
    ticket = await front.http.post(
        "/v1/tickets",
        json=site | {"channel": "portal", "priority": 1, "title": said, "description": said},
        headers=staff,
    )
    assert ticket.status_code == 201, ticket.text
    muted = await _muted(front, site, said, staff)
    async with front.pool.connection() as conn:
        row = await (
            await conn.execute(
                "SELECT k.tenant_id, k.deployment_id, h.host_id, k.ticket_id FROM ticket k"
                " JOIN host h USING (tenant_id, deployment_id) WHERE number = %s",
                (ticket.json()["number"],),
            )
        ).fetchone()
        assert row is not None
        known = dict(zip(("tenant_id", "deployment_id", "host_id", "ticket_id"), row, strict=True))
        given = known | {"said": said, "now": front.clock(), "problem": f"{tenant}/{deployment}/h/cpu/"}
        for name, statement in _STATEMENTS.items():
            made = await (await conn.execute(statement.encode(), given)).fetchone()
            assert made is not None, statement
            given[name] = made[0]
    found = {name: given[name] for name in Ids.__dataclass_fields__ if name in given}
    number, host = ticket.json()["number"], f"{deployment}-host"
    return Ids(**site, **found, **muted, host=host, number=number, agent_id=agent.agent_id)


async def _muted(front: Front, site: dict[str, Any], said: str, staff: dict[str, str]) -> dict[str, Any]:
    until = (front.clock() + timedelta(hours=1)).isoformat()
    matcher = {"label": "deployment", "op": "=", "pattern": site["deployment"]}
    silence = {"tenant": site["tenant"], "matchers": [matcher], "reason": said, "ends_at": until}
    window = site | {"title": said, "starts_at": front.clock().isoformat(), "ends_at": until}
    found = {}
    for name, path, body in (
        ("silence_id", "/v1/silences", silence),
        ("window_id", "/v1/maintenance", window),
    ):
        made = await front.http.post(path, json=body, headers=staff)
        assert made.status_code == 201, made.text
        found[name] = made.json()["id"]
    return found
