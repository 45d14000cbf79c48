"""The pager as a state machine: whatever happens in whatever order, a critical ticket is answered or has a
deadline.

Everything is real but time: PostgreSQL, the desk, the pagers, our signed routes, the phone company.
Hypothesis invents stories - new problems, faults of the company, callees who answer, decline or say nothing,
callbacks repeated and forged, pagers killed in the middle of a look, leases that run out, recoveries, answers
that expire - and after each step the books are compared. At the end everything is mended, and then everybody
is answered.

    UCX_TEST_PAGER_STORIES=500 pytest tests/oncall/test_pager_machine.py      # more, other stories each time
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from psycopg.conninfo import make_conninfo

from oncall.simulator.call import Call, Pace
from oncall.simulator.script import FaultKind
from oncall.voice.signature import HEADER, sign
from storage.pool import Pool, open_pool
from tests.oncall.lab import DiesAt, Killed, Lab, lab
from tests.oncall.world import ANNA, BEN, CARLA
from tests.ticketing.desk_world import Alert, World, registry

STORIES = int(os.environ.get("UCX_TEST_PAGER_STORIES", "0"))
CUSTOMERS = {"platinum-co": "plan: platinum, start: 2024-01-01, autorenew: true"}
BEGIN = datetime(2026, 3, 2, 12, tzinfo=UTC)
LONGEST = timedelta(minutes=15)
"""No deadline may be farther away: the longest ringing here is ten minutes."""
_BROKEN = """
SELECT 'asked for, unanswered, no deadline', r.page_request_id
FROM page_request r JOIN paging p USING (tenant_id, page_request_id)
WHERE r.ended_at IS NULL
  AND NOT (p.state = 'active' AND p.next_look_at IS NOT NULL AND p.next_look_at <= %(limit)s)
  AND NOT (p.state = 'acknowledged' AND EXISTS (
        SELECT FROM acknowledgement a
        WHERE (a.tenant_id, a.page_request_id) = (r.tenant_id, r.page_request_id)))
UNION ALL
SELECT 'critical, unanswered, nobody is asked to ring', k.ticket_id FROM ticket k
WHERE k.state = 'new' AND k.priority = 1 AND k.recovered_at IS NULL AND k.parent_id IS NULL
  AND NOT EXISTS (SELECT FROM page_request r WHERE (r.tenant_id, r.ticket_id) = (k.tenant_id, k.ticket_id)
                  AND r.audience = 'technician' AND r.ended_at IS NULL)
UNION ALL
SELECT 'taken in charge twice', ticket_id FROM ticket_event WHERE kind = 'taken'
GROUP BY tenant_id, ticket_id HAVING count(*) > 1
UNION ALL
SELECT 'one page answered twice', min(acknowledgement_id) FROM acknowledgement WHERE page_id IS NOT NULL
GROUP BY tenant_id, page_id HAVING count(*) > 1
"""
_ANSWERED = """
SELECT coalesce(g.bundle_id, g.page_id)::text FROM acknowledgement a JOIN page g USING (tenant_id, page_id)
"""
_OPEN = """
SELECT count(*) FROM page_request r WHERE r.ended_at IS NULL AND NOT EXISTS (
    SELECT FROM acknowledgement a WHERE (a.tenant_id, a.page_request_id) = (r.tenant_id, r.page_request_id))
"""
_CLEAR = """
TRUNCATE alert, alert_transition, desk_progress, no_ticket, ticket, ticket_event, ticket_alert, page_request,
         acknowledgement, acknowledgement_progress, outbox, paging, page, page_event, oncall_alarm CASCADE
"""
_DEAD = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'doomed'"


class Stage:
    """What all stories share: one loop, one database, its pool and registry."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.runner = asyncio.Runner()
        self.pool: Pool = self.run(open_pool(url, min_size=8, max_size=8))
        self.world = World(self.pool)
        self.run(self._settle_in())

    def run(self, work: Any) -> Any:
        return self.runner.run(work)

    async def _settle_in(self) -> None:
        await self.pool.wait()
        await self.world.registry(registry(CUSTOMERS))
        await self.world.do("DELETE FROM person")
        for number, (key, phone) in enumerate((("anna", ANNA), ("ben", BEN), ("carla", CARLA))):
            sql = "INSERT INTO person (person_id, key, name, phone) VALUES (%s, %s, %s, %s)"
            await self.world.do(sql, 100 + number, key, key.title(), phone)

    def close(self) -> None:
        self.run(self.pool.close())
        self.runner.close()


class Recorder:
    """Our routes, and every signed callback that they were sent, to be sent again."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self.seen: list[tuple[str, bytes, dict[str, str]]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""

        async def heard() -> Any:
            nonlocal body
            message = await receive()
            body += message.get("body", b"")
            return message

        await self._app(scope, heard, send)
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        url = f"http://ours{scope['path']}?{scope['query_string'].decode()}"
        kept = {name: headers[name] for name in ("content-type", HEADER.lower()) if name in headers}
        self.seen.append((url, body, kept))


class Pagers(RuleBasedStateMachine):
    """One story. Two pagers and a desk; ``later`` is how far the clock was wound."""

    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        self.later = timedelta()
        self.alerts: list[Alert] = []
        self.pressed: set[str] = set()
        """Pages in whose calls somebody pressed 4."""
        self._lab: AbstractAsyncContextManager[Lab] = lab(
            self.stage.pool,
            providers=2,
            clock=self.clock,
            pace=Pace(0.004, 0.0),
            ring_s=600,
            provider_timeout_s=0.04,
            line_gap_s=1.0,
            bundle_wait_s=5.0,
            persons=("anna", "ben", "carla"),
        )
        self.run(self._begin())

    async def _begin(self) -> None:
        self.here = await self._lab.__aenter__()
        self.recorder = Recorder(self.here.apps["ours"])
        self.here.apps["ours"] = self.recorder
        await self.stage.world.do(_CLEAR)
        self.pagers = [self.here.pager(), self.here.pager()]

    def clock(self) -> datetime:
        return BEGIN + self.later

    def run(self, work: Any) -> Any:
        return self.stage.run(work)

    # What happens ------------------------------------------------------------------------------------

    @initialize()
    def the_first_problem_begins(self) -> None:
        self.run(self._fires())

    @rule()
    def a_problem_begins(self) -> None:
        if len(self.alerts) < 6:
            self.run(self._fires())

    async def _fires(self) -> None:
        self._tell_the_time()
        number = len(self.alerts)
        self.alerts.append(
            await self.stage.world.fires(rule=f"r{number}", problem=f"platinum-co/main/{number}")
        )
        await self.stage.world.round()

    def _tell_the_time(self) -> None:
        self.stage.world.now = self.clock()

    @rule(which=st.integers(0, 5))
    def a_problem_is_over(self, which: int) -> None:
        if self.alerts and (alert := self.alerts[which % len(self.alerts)]).state == "firing":
            self._tell_the_time()
            self.run(alert.goes("resolved"))

    @rule()
    def the_desk_works(self) -> None:
        self._tell_the_time()
        self.run(self.stage.world.round())

    @rule(which=st.integers(0, 1), looks=st.integers(1, 4))
    def a_pager_works(self, which: int, looks: int) -> None:
        self.run(self._looks(which, looks))

    async def _looks(self, which: int, looks: int) -> None:
        await self.pagers[which].sync()
        for _ in range(looks):
            if not await self.pagers[which].look():
                break
        await self._settle()

    @rule(which=st.integers(0, 1), kind=st.sampled_from(sorted(FaultKind)))
    def a_pager_works_while_the_company_fails(self, which: int, kind: FaultKind) -> None:
        self.here.script(faults=[{"kind": kind.value, "s": 0.02}])
        self.run(self._looks(which, 3))

    @rule(calls=st.integers(2, 16))
    def nobody_answers_for_a_while(self, calls: int) -> None:
        self.run(self._nobody(calls))

    async def _nobody(self, calls: int) -> None:
        phones = [{"number": number, "behaviour": "busy"} for number in (ANNA, BEN, CARLA)]
        self.here.script(phones=phones)
        for turn in range(calls):
            await self._looks(turn % 2, 4)
            self.later += timedelta(seconds=20)
        self.here.script(phones=[phone | {"behaviour": "manual"} for phone in phones])

    @rule(at=st.integers(1, 40))
    def a_pager_is_killed_in_the_middle_of_a_look(self, at: int) -> None:
        self.run(self._killed(at))

    async def _killed(self, at: int) -> None:
        doomed = await open_pool(make_conninfo(self.stage.url, application_name="doomed"), max_size=2)
        await doomed.wait()
        try:
            await DiesAt(self.here.pager(doomed).look(), at)
        except Killed:
            pass
        finally:
            await self.here.value(_DEAD)
            await doomed.close(timeout=0)
        await self._settle()

    @rule()
    def leases_run_out(self) -> None:
        self.run(self.stage.world.do("UPDATE paging SET lease_until = NULL WHERE lease_until IS NOT NULL"))

    @rule(seconds=st.sampled_from([0.1, 1, 3, 10, 60, 620, 1860]))
    def time_passes(self, seconds: float) -> None:
        self.later += timedelta(seconds=seconds)

    @rule(kind=st.sampled_from(sorted(FaultKind)), times=st.integers(1, 3))
    def the_company_will_fail(self, kind: FaultKind, times: int) -> None:
        self.here.script(faults=[{"kind": kind.value, "times": times, "s": 0.02}])

    @rule(which=st.integers(0, 9), key=st.sampled_from("44449515"))
    def somebody_picks_up_and_presses(self, which: int, key: str) -> None:
        self.run(self._picks_up(which, key))

    async def _picks_up(self, which: int, key: str) -> None:
        if (call := self._ringing(which)) is None:
            return
        self.here.exchange.do(call, "answer")
        await self._until(lambda: call.listening or call.over)
        if not call.over:
            if key == "4":
                self.pressed.add(call.order.url.split("?")[0].split("/")[-2])
            self.here.exchange.do(call, f"press:{key}")
        await self._settle()

    @rule(which=st.integers(0, 9), what=st.sampled_from(["decline", "voicemail", "answer"]))
    def somebody_does_not_answer(self, which: int, what: str) -> None:
        """Declines, lets the machine take it, or picks up and says nothing."""
        if (call := self._ringing(which)) is not None:
            self.here.exchange.do(call, what)
            self.run(self._settle())

    @rule(which=st.integers(0, 5))
    def somebody_answers_on_the_web(self, which: int) -> None:
        self.run(self._answers_on_the_web(which))

    async def _answers_on_the_web(self, which: int) -> None:
        rows = await self.stage.world.rows("SELECT tenant_id, page_request_id FROM paging ORDER BY 2")
        if rows:
            tenant, request = rows[which % len(rows)]
            url = f"http://ours/v1/oncall/page-requests/{tenant}/{request}/acknowledge"
            assert (await self.here.http.post(url, json={"person": "carla"})).is_success

    @rule(which=st.integers(0, 200), times=st.integers(1, 3))
    def an_old_callback_comes_again(self, which: int, times: int) -> None:
        seen = [entry for entry in self.recorder.seen if HEADER.lower() in entry[2]]
        if seen:
            url, body, headers = seen[which % len(seen)]
            self.run(self._again(url, body, headers, times))

    async def _again(self, url: str, body: bytes, headers: dict[str, str], times: int) -> None:
        sent = (self.here.http.post(url, content=body, headers=headers) for _ in range(times))
        assert {answer.status_code for answer in await asyncio.gather(*sent)} <= {200, 204, 403, 404}

    @rule(which=st.integers(0, 9))
    def somebody_forges_a_key(self, which: int) -> None:
        calls = list(self.here.exchange.calls.values())
        if calls:
            url = calls[which % len(calls)].order.url.replace("/twiml", "/gather")
            headers = {HEADER: sign("guessed", url, [("Digits", "4")])}
            answer = self.run(self.here.http.post(url, data={"Digits": "4"}, headers=headers))
            assert answer.status_code == 403

    # What must hold ----------------------------------------------------------------------------------

    @invariant()
    def every_critical_ticket_is_answered_or_has_a_deadline_and_nothing_counts_twice(self) -> None:
        self.run(self._compare())

    async def _compare(self) -> None:
        async with self.stage.pool.connection() as conn:
            cursor = await conn.execute(_BROKEN.encode(), {"limit": self.clock() + LONGEST})
            assert await cursor.fetchall() == []
        answered = {page for (page,) in await self.stage.world.rows(_ANSWERED)}
        assert answered <= self.pressed, "acknowledged by no key"
        calls = Counter(call.order.url for call in self.here.exchange.calls.values())
        assert not calls or max(calls.values()) == 1, "one page, two calls"
        assert await self.here.strangers() == [], "a call whose page nobody knows: its key would not count"

    def teardown(self) -> None:
        """The company is mended, everybody picks up: in the end all are answered."""
        try:
            if hasattr(self, "pagers"):
                self.run(self._mended())
        finally:
            self.run(self._lab.__aexit__(None, None, None))

    async def _mended(self) -> None:
        self.here.script(clear_faults=True)
        for _ in range(300):
            await self.stage.world.do("UPDATE paging SET lease_until = NULL WHERE lease_until IS NOT NULL")
            self._tell_the_time()
            await self.stage.world.round()
            await self._looks(0, 5)
            while self._ringing(0) is not None:
                await self._picks_up(0, "4")
            if not await self.here.value(_OPEN):
                return
            self.later += timedelta(seconds=20)
        raise AssertionError("a critical ticket was never answered although everything works again")

    # The company's side ------------------------------------------------------------------------------

    def _ringing(self, which: int) -> Call | None:
        calls = [call for call in self.here.exchange.calls.values() if call.status == "ringing"]
        return calls[which % len(calls)] if calls else None

    async def _settle(self) -> None:
        """Until no call is on its way to somewhere (a phone that rings waits for its callee)."""
        await self._until(lambda: all(_rests(call) for call in self.here.exchange.calls.values()))

    async def _until(self, probe: Callable[[], bool]) -> None:
        for _ in range(500):
            if probe():
                break
            await asyncio.sleep(0.002)


def _rests(call: Call) -> bool:
    stuck = call.status == "queued" and FaultKind.NEVER_RINGS in call.faults
    return call.over or call.status == "ringing" or stuck


@pytest.fixture
def stage(database_url: str) -> Any:
    made = Stage(database_url)
    yield made
    made.close()


@pytest.mark.timeout(3600 if STORIES else 300)
def test_no_story_leaves_a_critical_ticket_without_an_answer_or_a_deadline(stage: Stage) -> None:
    """Broken twins, each seen to fail: a 2xx that is trusted (a deadline a day away), signatures not
    looked at (a forged key counts), a paging that gives up after two rounds (a deadline nine days away)."""
    Pagers.stage = stage
    run_state_machine_as_test(
        Pagers,
        settings=settings(
            max_examples=STORIES or 16,
            stateful_step_count=30,
            deadline=None,
            derandomize=not STORIES,
            phases=tuple(Phase) if STORIES else (Phase.generate,),
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
