-- On-call's SQL about watching itself: the paging switch, test calls and invented pages.

-- name: read_switch
-- The switch as it was last turned.
SELECT paging, at, who, reason FROM paging_switch ORDER BY switch_id DESC LIMIT 1

-- name: switch_and_home
-- The switch, where paging was confirmed, and where this is: cluster and database.
SELECT coalesce((SELECT paging FROM paging_switch ORDER BY switch_id DESC LIMIT 1), true),
       (SELECT identity FROM paging_home),
       (SELECT s.system_identifier || '/' || d.oid FROM pg_control_system() s, pg_database d
         WHERE d.datname = current_database())

-- name: settle
-- The first pager on a new database: this is where it pages.
INSERT INTO paging_home (identity) VALUES (%(identity)s) ON CONFLICT DO NOTHING

-- name: turn_switch
-- Turns the switch; earlier turns stay as history.
INSERT INTO paging_switch (paging, at, who, reason) VALUES (%(on)s, %(now)s, %(who)s, %(reason)s)

-- name: confirm_home
-- A person confirmed: this database is the one that pages.
INSERT INTO paging_home (identity)
SELECT s.system_identifier || '/' || d.oid FROM pg_control_system() s, pg_database d WHERE d.datname = current_database()
ON CONFLICT (one) DO UPDATE SET identity = excluded.identity

-- name: person
-- One active person.
SELECT person_id, key, name, phone, zone FROM person WHERE key = %(key)s AND active

-- name: begin_test
-- A test call, written before the provider is asked.
INSERT INTO test_call (test_id, person_id, address, provider, requested_at, requested_by)
VALUES (%(test_id)s, %(person_id)s, %(address)s, %(provider)s, %(now)s, %(by)s)

-- name: test_placed
-- The provider took the test call.
UPDATE test_call SET provider_ref = %(ref)s WHERE test_id = %(test_id)s

-- name: end_test
-- What became of a test call; the first word counts, and a key counts above all.
UPDATE test_call SET outcome = %(outcome)s, ended_at = %(now)s, detail = %(detail)s
WHERE test_id = %(test_id)s AND (outcome = 'calling' OR %(outcome)s = 'confirmed' AND outcome <> 'confirmed')
RETURNING test_id

-- name: test
-- One test call with its person.
SELECT c.test_id, p.key, p.name, c.address, c.provider, c.requested_at, c.outcome, c.ended_at, c.detail, c.provider_ref
FROM test_call c JOIN person p USING (person_id) WHERE c.test_id = %(test_id)s

-- name: open_tests
-- Test calls that should have ended long ago.
SELECT c.test_id, p.key, p.name, c.address, c.provider, c.requested_at, c.outcome, c.ended_at, c.detail, c.provider_ref
FROM test_call c JOIN person p USING (person_id) WHERE c.outcome = 'calling' AND c.requested_at < %(before)s

-- name: tests
-- For each active person with a phone: the newest test call, and when this number was last confirmed.
SELECT p.key, p.name, p.phone, p.zone, n.requested_at, coalesce(n.outcome, ''), coalesce(n.detail, ''), c.confirmed_at
FROM person p
LEFT JOIN LATERAL (
    SELECT t.requested_at, t.outcome, t.detail FROM test_call t
    WHERE t.person_id = p.person_id ORDER BY t.requested_at DESC LIMIT 1) n ON true
LEFT JOIN LATERAL (
    SELECT max(t.ended_at) AS confirmed_at FROM test_call t
    WHERE t.person_id = p.person_id AND t.address = p.phone AND t.outcome = 'confirmed') c ON true
WHERE p.active AND p.phone IS NOT NULL AND (p.roles @> '[{"role": "on-call"}]' OR p.key = ANY (%(keys)s))
ORDER BY p.key

-- name: one_tests
-- One process at a time makes the weekly test calls; and whether anybody is being paged right now.
SELECT pg_try_advisory_xact_lock(hashtext('oncall.test_call')), EXISTS (SELECT FROM paging WHERE state = 'active')

-- name: begin_run
-- An invented page, written before the event is sent.
INSERT INTO synthetic_run (run_id, tenant, started_at) VALUES (%(run_id)s, %(tenant)s, %(now)s)

-- name: run_accepted
-- The front door gave its receipt.
UPDATE synthetic_run SET accepted_at = %(now)s WHERE run_id = %(run_id)s

-- name: run_progress
-- How far an invented page came: its alert, ticket, ringing and answer.
SELECT a.fired_at, k.number, g.rang_at, w.at
FROM synthetic_run s
JOIN tenant t ON t.key = s.tenant
LEFT JOIN LATERAL (
    SELECT x.alert_id, x.fired_at FROM alert x
    WHERE x.tenant_id = t.tenant_id AND x.priority = 1 AND x.changed_at >= s.started_at AND x.fired_at IS NOT NULL
    ORDER BY x.alert_id DESC LIMIT 1) a ON true
LEFT JOIN LATERAL (
    SELECT l.ticket_id FROM ticket_alert l WHERE l.tenant_id = t.tenant_id AND l.alert_id = a.alert_id
    ORDER BY l.ticket_id DESC LIMIT 1) l ON true
LEFT JOIN ticket k ON k.tenant_id = t.tenant_id AND k.ticket_id = l.ticket_id
LEFT JOIN LATERAL (
    SELECT min(p.ringing_at) AS rang_at FROM page_request q JOIN page p USING (tenant_id, page_request_id)
    WHERE q.tenant_id = t.tenant_id AND q.ticket_id = l.ticket_id AND p.created_at >= s.started_at) g ON true
LEFT JOIN LATERAL (
    SELECT min(v.at) AS at FROM acknowledgement v
    WHERE v.tenant_id = t.tenant_id AND v.ticket_id = l.ticket_id AND v.at >= s.started_at) w ON true
WHERE s.run_id = %(run_id)s

-- name: end_run
-- The end of an invented page.
UPDATE synthetic_run
SET alerted_at = %(alerted_at)s, ticket = %(ticket)s, rang_at = %(rang_at)s, answered_at = %(answered_at)s,
    failed_at = %(failed_at)s, outcome = %(outcome)s
WHERE run_id = %(run_id)s

-- name: tenant
-- A customer by its key.
SELECT tenant_id FROM tenant WHERE key = %(key)s
