"""The Alertmanager's API: what is pushed becomes alerts, silences are ours, each customer by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from alerting.alertmanager.matcher import fingerprint, parse, parts
from alerting.alertmanager.pushed import read
from alerting.alertmanager.shapes import PostableAlert, stamp
from alerting.api import router
from alerting.evaluate import HostScope
from alerting.settings import Settings
from alerting.sweep import Sweep
from storage.pool import Pool
from tests.alerting.kit import START, evaluator_in, event, history, ingest, minutes, seed
from tests.mounted import mounted
from wire.access import Principal, Role

STAFF = Principal("staff", Role.ADMIN)
PUSHER = Principal("prometheus", Role.INTEGRATION, tenant_id=1, deployment_id=1)
CUSTOMER = Principal("acme", Role.SUPPORT, tenant_id=1)
STRANGER = Principal("other", Role.SUPPORT, tenant_id=2)
NODE = HostScope(1, "acme", 1, "site", 1, "node-1")
SETTINGS = Settings(pushed_limit=3, front_door_grace_s=1e9)


class Api:
    """The room's routes, with a caller and a time that the test chooses."""

    def __init__(self, pool: Pool) -> None:
        self.now = START
        self.who = STAFF
        self.sweep = Sweep(pool, SETTINGS, lambda: self.now)
        app = mounted(router(pool, SETTINGS, lambda: self.now), lambda: self.who)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api/api/v2")

    async def push(self, *alerts: dict[str, Any], who: Principal = PUSHER) -> httpx.Response:
        self.who = who
        return await self.http.post("/alerts", json=list(alerts))

    async def alerts(self, who: Principal = CUSTOMER, **params: Any) -> list[dict[str, Any]]:
        self.who = who
        answer = await self.http.get("/alerts", params=params)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()
        return found

    async def silence(self, who: Principal = CUSTOMER, **changes: Any) -> httpx.Response:
        self.who = who
        return await self.http.post("/silences", json=silence(self.now, **changes))


@pytest_asyncio.fixture
async def api(pool: Pool) -> AsyncIterator[Api]:
    await seed(pool)
    await seed(pool, tenant="other")
    made = Api(pool)
    async with made.http:
        yield made


def alert(name: str = "DiskFull", **labels: str) -> dict[str, Any]:
    return {
        "labels": {"alertname": name, "instance": "db1:9100", **labels},
        "annotations": {"summary": f"{name} happened"},
        "generatorURL": "http://prometheus/graph",
    }


def silence(now: datetime, *, hours: float = 1, **changes: Any) -> dict[str, Any]:
    matcher = {"name": "alertname", "value": "DiskFull", "isRegex": False, "isEqual": True}
    times = {"startsAt": stamp(now), "endsAt": stamp(now + timedelta(hours=hours))}
    return {"matchers": [matcher], "createdBy": "ada", "comment": "known"} | times | changes


async def test_a_pushed_alert_becomes_one_of_the_keys_deployment(pool: Pool, api: Api) -> None:
    """Under the rule pushed.<alertname>, with its severity's priority; no label makes it another's."""
    answer = await api.push(alert(severity="critical", tenant="other", priority="P4"))
    assert (answer.status_code, answer.content) == (200, b"")
    ((found, (step,)),) = await history(pool)
    assert (found.tenant_id, found.deployment_id, found.host_id) == (1, 1, None)
    assert (found.rule_id, found.state, found.priority) == ("pushed.DiskFull", "firing", 1)
    assert found.labels["tenant"] == "acme"
    assert found.labels["exported_tenant"] == "other"
    assert step.reason == "Pushed by 'prometheus': DiskFull happened (severity 'critical': P1)"
    assert found.problem_key.startswith("acme/site/(cluster)/pushed.DiskFull/db1:9100 #")


def test_a_severity_maps_by_the_table_and_an_unknown_one_never_pages() -> None:
    """What the table does not name is P4."""
    for severity, priority in (
        ("critical", 1),
        ("CRITICAL", 1),
        ("error", 2),
        ("warning", 3),
        ("x!", 4),
        ("", 4),
    ):
        assert read(PostableAlert(**alert(severity=severity)), SETTINGS, START).priority == priority


async def test_pushing_again_changes_nothing(pool: Pool, api: Api) -> None:
    """The same labels are the same alert, however often; a repeat within one push counts once."""
    for _ in range(3):
        assert (await api.push(alert(), alert())).status_code == 200
        api.now += minutes(1)
    ((_, steps),) = await history(pool)
    assert len(steps) == 1
    assert (await api.alerts())[0]["updatedAt"] == "2026-03-02T14:02:00.000Z"


async def test_severities_of_one_problem_share_its_key(pool: Pool, api: Api) -> None:
    """Warning and critical are two alerts about one problem: one ticket."""
    await api.push(alert(severity="warning"), alert(severity="critical"))
    (first, _), (second, _) = await history(pool)
    assert first.instance != second.instance
    assert first.problem_key == second.problem_key


async def test_it_ends_when_it_is_said_to(pool: Pool, api: Api) -> None:
    """endsAt in the past resolves; of what is not open it is nothing; pushed later, it is a new alert."""
    over = alert() | {"endsAt": stamp(START - minutes(1))}
    await api.push(over)
    assert await history(pool) == []
    await api.push(alert())
    await api.push(over)
    await api.push(over)
    ((found, steps),) = await history(pool)
    assert (found.state, [s.to_state for s in steps]) == ("resolved", ["firing", "resolved"])
    assert steps[-1].reason == "Reported as over by 'prometheus'."
    await api.push(alert())
    assert [a.state for a, _ in await history(pool)] == ["resolved", "firing"]


async def test_it_ends_when_nobody_pushes_it_again(pool: Pool, api: Api) -> None:
    """After its endsAt or the resolve timeout, by the sweep; each push puts that off."""
    await api.sweep.once()
    await api.push(alert("A"), alert("B") | {"endsAt": stamp(START + minutes(20))})
    api.now = START + minutes(4)
    await api.push(alert("A"))
    for minute, standing in ((8, ["firing", "firing"]), (10, ["resolved", "firing"]), (21, ["resolved"] * 2)):
        api.now = START + minutes(minute)
        await api.sweep.once()
        assert [a.state for a, _ in await history(pool)] == standing, minute
    ((_, steps), _) = await history(pool)
    assert steps[-1].reason == "Not pushed again by 14:09:00Z, until when it was said to hold: over."


async def test_a_deployment_whose_alerts_cannot_be_ended_keeps_no_others_open(
    pool: Pool, api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """The first customer's alert cannot be written; the second one's ends when nobody pushes it again.

    Broken twin: with one failure ending the round, the second one's stays open for ever (seen to fail)."""
    await seed(pool, tenant="beta")
    await api.sweep.once()
    await api.push(alert())
    await api.push(alert(), who=Principal("prometheus", Role.INTEGRATION, tenant_id=2, deployment_id=2))
    async with pool.connection() as conn:
        await conn.execute("ALTER TABLE alert ADD CHECK (tenant_id <> 1 OR state = 'firing')")
    api.now = START + minutes(10)
    await api.sweep.once()
    assert [(a.tenant_id, a.state) for a, _ in await history(pool)] == [(1, "firing"), (2, "resolved")]
    assert "pushed of deployment 1 of tenant 1 failed" in caplog.text


async def test_nothing_ends_while_our_own_door_was_shut(pool: Pool, api: Api) -> None:
    """Who could not reach us cannot push again: the time to do so begins when our door opens.

    Broken twin: without the look at the door, the first sweep after our outage ends the alert."""
    api.sweep = Sweep(pool, Settings(front_door_grace_s=60), lambda: api.now)
    await api.sweep.once()
    await api.push(alert())
    for minute, state in ((30, "firing"), (30.5, "firing"), (31, "firing"), (32, "firing")):
        api.now = START + minutes(minute)
        await api.sweep.once()
        assert [a.state for a, _ in await history(pool)] == [state]
    for step in range(33, 37):
        api.now = START + minutes(step)
        await api.sweep.once()
    assert [a.state for a, _ in await history(pool)] == ["resolved"]


async def test_too_many_open_alerts_are_refused_and_known_ones_still_held(pool: Pool, api: Api) -> None:
    """429 for what is new above the limit; what is open is refreshed in the same push."""
    await api.push(alert("A"), alert("B"), alert("C"))
    api.now += minutes(1)
    answer = await api.push(alert("D"), alert("A"))
    assert (answer.status_code, answer.json()) == (429, "1 new alert(s) refused: 3 are open already.")
    assert len(await history(pool)) == 3
    held = {a["labels"]["alertname"]: a["updatedAt"] for a in await api.alerts()}
    assert held["A"] > held["B"]


async def test_good_alerts_of_a_push_are_taken_and_bad_ones_told(pool: Pool, api: Api) -> None:
    """As the Alertmanager: 400 with what is wrong, the others stand."""
    answer = await api.push(alert(), {"labels": {}}, {"labels": {"bad-name": "x"}})
    assert answer.status_code == 400
    assert answer.json().startswith("at least one label pair required; 'bad-name' is no name")
    assert len(await history(pool)) == 1


PUSHERS = [
    (PUSHER, 200),
    (Principal("site", Role.SUPPORT, tenant_id=1, deployment_id=1), 200),
    (Principal("reader", Role.READER, tenant_id=1, deployment_id=1), 403),
    (Principal("agent", Role.AGENT, tenant_id=1, deployment_id=1, host_id=1), 403),
    (CUSTOMER, 403),
    (STAFF, 403),
]


async def test_only_a_deployments_key_pushes(api: Api) -> None:
    """An integration's, or one of support staff that is bound to the deployment."""
    for who, status in PUSHERS:
        assert (await api.push(alert(), who=who)).status_code == status


async def test_alerts_are_shown_as_the_specification_has_them(pool: Pool, api: Api) -> None:
    """Pushed and own ones alike, each customer's to itself; an integration may not read."""
    evaluator = await evaluator_in(pool)
    await ingest(pool, evaluator, NODE, [event(START, "MSSQLSERVER", "1105", "no space")], START)
    await api.push(alert(severity="warning"))
    pushed, own = await api.alerts()
    assert set(pushed) == {
        *("annotations", "endsAt", "fingerprint", "receivers", "startsAt", "status", "updatedAt"),
        *("generatorURL", "labels"),
    }
    assert pushed["status"] == {"state": "active", "silencedBy": [], "inhibitedBy": [], "mutedBy": []}
    assert pushed["annotations"] == {"summary": "DiskFull happened"}
    assert pushed["endsAt"] == "2026-03-02T14:05:00.000Z"
    assert own["labels"]["alertname"] == "database.error.full"
    assert own["labels"]["priority"] == "P1"
    assert await api.alerts(STRANGER) == []
    api.who = PUSHER
    assert (await api.http.get("/alerts")).status_code == 403
    assert (await api.http.get("/silences")).status_code == 403


async def test_filters_find_alerts(pool: Pool, api: Api) -> None:
    """By =, !=, =~, !~, several together, active, silenced and receiver."""
    await api.push(alert("A", team="db"), alert("B", team="web"))
    for texts, names in (
        (['alertname="A"'], ["A"]),
        (["alertname=A"], ["A"]),
        (['alertname!="A"'], ["B"]),
        (['team=~"d.|x"'], ["A"]),
        (['team!~"d.|x"', 'alertname=~".+"'], ["B"]),
        (['team=~"d"'], []),
        (['none=""'], ["B", "A"]),
    ):
        assert [a["labels"]["alertname"] for a in await api.alerts(filter=texts)] == names, texts
    assert await api.alerts(active=False) == []
    assert await api.alerts(receiver="nobody") == []
    assert len(await api.alerts(receiver="de.k")) == 2


async def test_groups_hold_alerts_of_one_name(api: Api) -> None:
    """By tenant, deployment and alert name."""
    await api.push(alert("A"), alert("B"), alert("B", severity="warning"))
    api.who = CUSTOMER
    one, two = (await api.http.get("/alerts/groups")).json()
    assert one["labels"] == {"tenant": "acme", "deployment": "site", "alertname": "A"}
    assert (len(one["alerts"]), len(two["alerts"]), two["receiver"]) == (1, 2, {"name": "desk"})


async def test_a_silence_mutes_and_ends(pool: Pool, api: Api) -> None:
    """Made here it is ours: the alert is muted by the sweep, shown as suppressed, and told when it ends."""
    await api.push(alert())
    made = (await api.silence()).json()["silenceID"]
    await api.sweep.once()
    (found,) = await api.alerts()
    assert found["status"]["state"] == "suppressed"
    assert found["status"]["silencedBy"] == [made]
    assert await api.alerts(silenced=False) == []
    ((stored, _),) = await history(pool)
    assert stored.muted == "silenced by ada until 2026-03-02 15:00Z: known"
    assert (await api.http.delete(f"/silence/{made}")).status_code == 200
    await api.push(alert())
    await api.sweep.once()
    ((stored, steps),) = await history(pool)
    assert stored.muted is None
    assert steps[-1].reason.startswith("No longer silenced by ada")
    api.who = CUSTOMER
    (kept,) = (await api.http.get("/silences")).json()
    assert kept["status"] == {"state": "expired"}


async def test_a_silence_says_what_was_posted(api: Api) -> None:
    """Matchers, author, reason and times come back as they were given; filters and creators find it."""
    matchers = [
        {"name": "alertname", "value": "Disk.*|Mem", "isRegex": True, "isEqual": True},
        {"name": "instance", "value": "a*b", "isRegex": False, "isEqual": True},
        {"name": "team", "value": "web", "isRegex": False, "isEqual": False},
    ]
    made = (await api.silence(matchers=matchers)).json()["silenceID"]
    found = (await api.http.get(f"/silence/{made}")).json()
    assert found == silence(START) | {
        "id": made,
        "matchers": matchers,
        "status": {"state": "active"},
        "updatedAt": found["updatedAt"],
    }
    assert (await api.http.get("/silences", params={"filter": 'instance="a*b"'})).json() == [found]
    assert (await api.http.get("/silences", params={"filter": 'instance="axb"'})).json() == []
    assert (await api.http.get("/silences", params={"creator": "bob"})).json() == []


async def test_a_silence_is_changed_in_place_or_replaced(api: Api) -> None:
    """A new end keeps the id; other matchers end the old one and make another."""
    made = (await api.silence()).json()["silenceID"]
    again = await api.silence(id=made, endsAt=stamp(START + minutes(300)))
    assert again.json()["silenceID"] == made
    assert (await api.http.get(f"/silence/{made}")).json()["endsAt"] == "2026-03-02T19:00:00.000Z"
    matcher = {"name": "alertname", "value": "Other", "isRegex": False, "isEqual": True}
    other = (await api.silence(id=made, matchers=[matcher])).json()["silenceID"]
    assert other != made
    states = {s["id"]: s["status"]["state"] for s in (await api.http.get("/silences")).json()}
    assert states == {made: "expired", other: "active"}


FAULTY: list[tuple[dict[str, Any], int]] = [
    ({"endsAt": "2026-03-01T00:00:00Z"}, 400),
    ({"matchers": []}, 400),
    ({"matchers": [{"name": "a", "value": "(", "isRegex": True}]}, 400),
    ({"matchers": [{"name": "a", "value": ".*", "isRegex": True}]}, 400),
    ({"matchers": [{"name": "a", "value": ".+", "isRegex": True}]}, 400),
    ({"matchers": [{"name": "a", "value": "b", "isRegex": False, "isEqual": False}]}, 400),
    ({"matchers": [{"name": "a", "value": "x" * 1001, "isRegex": True}]}, 400),
    ({"comment": ""}, 400),
    ({"id": "no-such"}, 404),
    ({"id": "00000000-0000-0000-0000-000000000000"}, 404),
    ({"startsAt": "0000-99-99"}, 400),
    ({"matchers": [{"name": "a", "value": "\x00b", "isRegex": False}]}, 200),
]


async def test_a_faulty_silence_is_refused(api: Api) -> None:
    """With a JSON text that says why; nobody silences everything."""
    for changes, status in FAULTY:
        answer = await api.silence(**changes)
        assert answer.status_code == status
        assert isinstance(answer.json(), str if status != 200 else dict)


async def test_silences_keep_to_their_customer(api: Api) -> None:
    """Another customer does not see, read or end one; staff name the customer; a site's key keeps to it."""
    made = (await api.silence()).json()["silenceID"]
    api.who = STRANGER
    assert (await api.http.get("/silences")).json() == []
    assert (await api.http.get(f"/silence/{made}")).status_code == 404
    assert (await api.http.delete(f"/silence/{made}")).status_code == 404
    assert (await api.silence(STRANGER, id=made)).status_code == 404
    assert (await api.silence(STAFF)).status_code == 400
    tenant = {"name": "tenant", "value": "other", "isRegex": False}
    assert (await api.silence(STAFF, matchers=[tenant])).status_code == 200
    site = Principal("site", Role.SUPPORT, tenant_id=1, deployment_id=1)
    own = (await api.silence(site)).json()["silenceID"]
    (seen,) = (await api.http.get("/silences")).json()
    assert (seen["id"], seen["matchers"][-1]["value"]) == (own, "site")
    assert (await api.http.delete(f"/silence/{made}")).status_code == 404
    assert (await api.silence(Principal("r", Role.READER, tenant_id=1))).status_code == 403


async def test_what_is_silenced_elsewhere_is_shown_here(api: Api) -> None:
    """A silence of /v1/silences, patterns and recurrence included, is a silence here."""
    api.who = CUSTOMER
    body = {
        "tenant": "acme",
        "matchers": [{"label": "host", "pattern": "NODE-*"}],
        "reason": "moved",
        "starts_at": stamp(START),
        "ends_at": stamp(START + minutes(60)),
        "recurrence": "FREQ=DAILY",
    }
    assert (await api.http.post("http://api/v1/silences", json=body)).status_code == 201
    api.now = START + timedelta(days=2, minutes=5)
    (found,) = (await api.http.get("/silences")).json()
    assert found["status"] == {"state": "active"}
    assert found["startsAt"] == "2026-03-04T14:00:00.000Z"
    assert found["matchers"] == [
        {"name": "host", "value": r"(?is)NODE\-.*", "isRegex": True, "isEqual": True}
    ]
    made = (await api.silence()).json()["silenceID"]
    listed = (await api.http.get("http://api/v1/silences")).json()
    assert made in {s["id"] for s in listed}


async def test_status_says_what_tools_ask(api: Api) -> None:
    """Version, an uptime, a configuration with the one receiver."""
    api.who = CUSTOMER
    found = (await api.http.get("/status")).json()
    assert (found["cluster"]["status"], found["uptime"]) == ("disabled", "2026-03-02T14:00:00.000Z")
    assert set(found["versionInfo"]) == {
        *("version", "revision", "branch", "buildUser", "buildDate", "goVersion")
    }
    assert (await api.http.get("/receivers")).json() == [{"name": "desk"}]


BODIES = [
    b"",
    b"{",
    b"null",
    b"{}",
    b"[1]",
    b'[{"labels": {"a": "\\ud800"}}]',
    b'[{"labels": {"\\u0000": "x"}}]',
    b'[{"labels": {"a": "x"}, "startsAt": "9999999999999-01-01T00:00:00Z"}]',
    b'[{"labels": {"a": "x"}, "endsAt": 1e400}]',
    b'[{"labels": {"a": ["x"]}}]',
    b"[" * 5000,
    b"\xff\xfe",
]


async def test_bad_bodies_are_refused(api: Api) -> None:
    """400 with a JSON text, never a 5xx."""
    for body in BODIES:
        api.who = PUSHER
        headers = {"content-type": "application/json"}
        answer = await api.http.post("/alerts", content=body, headers=headers)
        assert (answer.status_code, type(answer.json())) == (400, str)
        api.who = CUSTOMER
        answer = await api.http.post("/silences", content=body, headers=headers)
        assert (answer.status_code, type(answer.json())) == (400, str)


QUERIES = ["filter=x", "filter=a%3D~(", "filter=a%3D%22x", "active=maybe", "filter=" + "x" * 3000]


async def test_bad_filters_are_refused(api: Api) -> None:
    """400 with a JSON text."""
    for query in QUERIES:
        api.who = CUSTOMER
        answer = await api.http.get(f"/alerts?{query}")
        assert (answer.status_code, type(answer.json())) == (400, str)


async def test_text_that_a_column_cannot_hold_is_made_fit(pool: Pool, api: Api) -> None:
    """NUL, new lines, long values: stored, and one line in the summary."""
    strange = alert(note="a\x00b", long="x" * 4000) | {"annotations": {"summary": "two\nlines\x00"}}
    assert (await api.push(strange)).status_code == 200
    ((found, _),) = await history(pool)
    assert found.summary == "two lines"
    assert found.labels["note"] == "a b"


def test_fingerprints_are_those_of_prometheus() -> None:
    """The empty set's and a known one's, from its own tests' algorithm."""
    assert fingerprint({}) == "cbf29ce484222325"
    assert fingerprint({"a": "b"}) == fingerprint({"a": "b"}) != fingerprint({"a": "c"})


@given(st.text(max_size=50), st.sampled_from(["=", "!="]))
def test_a_quoted_filter_means_its_text(value: str, op: str) -> None:
    """Whatever stands in it, escaped as Go's %q does it for quotation marks, backslashes and new lines."""
    quoted = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    assert parts(parse(f'name{op}"{quoted}"')) == (value, False, op == "=")


def test_a_hostile_expression_costs_no_time() -> None:
    """(a+)+b over a long run of a: linear here, for ever with a backtracking engine."""
    assert not parse('x=~"(a+)+b"').accepts("a" * 100_000)


UNSET: dict[str, Any] = {"startsAt": "0001-01-01T00:00:00.000Z", "endsAt": "0001-01-01T00:00:00Z"}


def test_times_left_unset_are_no_times() -> None:
    """Prometheus and amtool write year 1 for a time they do not mean."""
    posted = PostableAlert(labels={"a": "b"}, **UNSET)
    assert (posted.startsAt, posted.endsAt) == (None, None)
    assert stamp(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"
