-- On-call's SQL. It writes paging, page, page_event and acknowledgement; of ticketing's tables it only reads.
-- Lock order everywhere: the paging row, then its pages.

-- name: not_begun
-- Which of the open page requests have no paging yet.
SELECT tenant_id, page_request_id FROM unnest(%(tenants)s::int[], %(requests)s::bigint[]) AS r (tenant_id, page_request_id)
EXCEPT
SELECT tenant_id, page_request_id FROM paging

-- name: begin
-- The paging of a new page request, once however many pagers begin it.
INSERT INTO paging (tenant_id, page_request_id, ticket_id, audience, policy, priority, state, created_at, next_look_at, look_reason)
VALUES (%(tenant_id)s, %(page_request_id)s, %(ticket_id)s, %(audience)s, %(policy)s, %(priority)s, 'active', %(now)s, %(now)s, 'new')
ON CONFLICT (tenant_id, page_request_id) DO NOTHING

-- name: active_keys
-- All pagings that are still under way.
SELECT tenant_id, page_request_id FROM paging WHERE state = 'active'

-- name: end_paging
-- Ends a paging: nobody needs to be reached any more.
UPDATE paging
SET state = 'ended', end_reason = %(reason)s, woken = true, next_look_at = %(now)s,
    look_reason = 'hang up what still rings'
WHERE tenant_id = %(tenant_id)s AND page_request_id = %(page_request_id)s AND state = 'active'

-- name: claim_due
-- Takes the worst and newest paging whose look is due, under a lease in database time and a new fence.
UPDATE paging SET lease_until = now() + make_interval(secs => %(lease_s)s), fence = fence + 1, woken = false
WHERE (tenant_id, page_request_id) = (
    SELECT tenant_id, page_request_id FROM paging
    WHERE next_look_at <= %(now)s AND (lease_until IS NULL OR lease_until <= now())
    ORDER BY priority, created_at DESC
    LIMIT 1
    FOR UPDATE SKIP LOCKED)
RETURNING tenant_id, page_request_id, ticket_id, policy, priority, step, attempt, round, fence, created_at, state,
    waiting_for, waiting_since, audience

-- name: still_mine
-- Locks the paging if the claim still stands; no row: somebody else has claimed it since.
SELECT state FROM paging
WHERE tenant_id = %(tenant_id)s AND page_request_id = %(page_request_id)s AND fence = %(fence)s
FOR UPDATE

-- name: lock_active
-- All pagings under way, locked in a fixed order.
SELECT FROM paging WHERE state = 'active' ORDER BY tenant_id, page_request_id FOR UPDATE

-- name: pages_put_back
-- Times that our clock told of calls before it was put back and that lie ahead now; their pagings are locked.
UPDATE page g
SET created_at = CASE WHEN g.created_at > %(now)s THEN least(%(now)s, g.created_at - %(back)s) ELSE g.created_at END,
    placed_at = CASE WHEN g.placed_at > %(now)s THEN least(%(now)s, g.placed_at - %(back)s) ELSE g.placed_at END,
    ringing_at = CASE WHEN g.ringing_at > %(now)s THEN least(%(now)s, g.ringing_at - %(back)s) ELSE g.ringing_at END,
    answered_at = CASE WHEN g.answered_at > %(now)s THEN least(%(now)s, g.answered_at - %(back)s) ELSE g.answered_at END,
    ended_at = CASE WHEN g.ended_at > %(now)s THEN least(%(now)s, g.ended_at - %(back)s) ELSE g.ended_at END
FROM paging p
WHERE p.state = 'active' AND (p.tenant_id, p.page_request_id) = (g.tenant_id, g.page_request_id)
  AND greatest(g.created_at, g.placed_at, g.ringing_at, g.answered_at, g.ended_at) > %(now)s

-- name: pagings_put_back
-- Looks that wait for a time told by a clock that was put back: as much sooner, at the soonest now.
UPDATE paging
SET next_look_at = greatest(%(now)s, next_look_at - %(back)s), waiting_since = least(waiting_since, %(now)s)
WHERE state = 'active' AND next_look_at > %(now)s

-- name: release
-- Gives the claim back with the next look and the position; news since the claim makes the look due at once.
UPDATE paging
SET lease_until = NULL, failures = 0, step = %(step)s, attempt = %(attempt)s, round = %(round)s,
    waiting_for = %(waiting_for)s, waiting_since = %(waiting_since)s,
    next_look_at = CASE WHEN woken THEN %(now)s ELSE %(next_look_at)s::timestamptz END,
    look_reason = CASE WHEN woken THEN 'news' ELSE %(reason)s END
WHERE tenant_id = %(tenant_id)s AND page_request_id = %(page_request_id)s AND fence = %(fence)s

-- name: postpone
-- A look that raised: tried again soon, less and less often, never given up.
UPDATE paging
SET lease_until = NULL, failures = failures + 1, look_reason = 'the last look failed: tried again',
    next_look_at = %(now)s + make_interval(secs => least(60, power(2, least(failures, 6))))
WHERE tenant_id = %(tenant_id)s AND page_request_id = %(page_request_id)s AND fence = %(fence)s

-- name: wake
-- News of a page: the paging is looked at now.
UPDATE paging SET woken = true, next_look_at = least(coalesce(next_look_at, %(now)s), %(now)s), look_reason = 'news'
WHERE tenant_id = %(tenant_id)s AND page_request_id = %(page_request_id)s

-- name: acknowledge_paging
-- Somebody answered: no further calls, and what still rings is hung up.
UPDATE paging
SET state = 'acknowledged', end_reason = %(reason)s, woken = true, next_look_at = %(now)s,
    look_reason = 'hang up what still rings'
WHERE tenant_id = %(tenant_id)s AND page_request_id = %(page_request_id)s AND state = 'active'

-- name: insert_acknowledgement
-- The person's answer, once per page whatever is repeated.
INSERT INTO acknowledgement (tenant_id, page_request_id, ticket_id, page_id, person_id, contact_id, at, channel, proof)
VALUES (%(tenant_id)s, %(page_request_id)s, %(ticket_id)s, %(page_id)s, %(person_id)s, %(contact_id)s, %(at)s, %(channel)s,
        %(proof)s)
ON CONFLICT DO NOTHING
RETURNING acknowledgement_id

-- name: newer_paging
-- The paging under way of a later request for the same ticket, for our own people.
SELECT page_request_id FROM paging
WHERE tenant_id = %(tenant_id)s AND ticket_id = %(ticket_id)s AND page_request_id > %(page_request_id)s
  AND state = 'active' AND audience = 'technician'
ORDER BY page_request_id DESC LIMIT 1

-- name: lock_paging
-- Locks one paging: the first lock of everything that changes its pages.
SELECT ticket_id, state, coalesce(end_reason, '') FROM paging
WHERE tenant_id = %(tenant_id)s AND page_request_id = %(page_request_id)s
FOR UPDATE

-- name: insert_page
-- A page, written before the provider is asked.
INSERT INTO page (tenant_id, page_id, page_request_id, person_id, person_name, address, transport,
                  step, attempt, round, fence, state, provider, created_at, bundle_id,
                  language)
VALUES (%(tenant_id)s, %(page_id)s, %(page_request_id)s, %(person_id)s, %(person_name)s, %(address)s, %(transport)s,
        %(step)s, %(attempt)s, %(round)s, %(fence)s, %(state)s, %(provider)s, %(created_at)s, %(bundle_id)s,
        %(language)s)

-- name: update_page
-- The page after news; its row is locked by the caller.
UPDATE page
SET state = %(state)s, provider_ref = %(provider_ref)s, placed_at = %(placed_at)s, ringing_at = %(ringing_at)s,
    answered_at = %(answered_at)s, ended_at = %(ended_at)s, hung_up_at = %(hung_up_at)s
WHERE tenant_id = %(tenant_id)s AND page_id = %(page_id)s

-- name: lead_of
-- The page whose call a page belongs to: itself, or the lead of its bundle (it never changes: no lock).
SELECT coalesce(bundle_id, page_id) FROM page WHERE tenant_id = %(tenant_id)s AND page_id = %(page_id)s

-- name: lock_call
-- The pagings whose tickets one call reads out, locked in a fixed order.
SELECT p.tenant_id, p.page_request_id, p.state, coalesce(p.end_reason, ''), p.ticket_id
FROM paging p
WHERE (p.tenant_id, p.page_request_id) IN (
    SELECT tenant_id, page_request_id FROM page WHERE page_id = %(lead)s OR bundle_id = %(lead)s)
ORDER BY p.tenant_id, p.page_request_id
FOR UPDATE OF p

-- name: pages_of_call
-- The pages of one call, worst and newest ticket first; their pagings are locked by the caller.
SELECT g.tenant_id, g.page_id, g.page_request_id, g.person_id, g.person_name, g.address, g.transport, g.step,
       g.attempt, g.round, g.fence, g.state, g.provider, g.provider_ref, g.created_at, g.placed_at, g.ringing_at,
       g.answered_at, g.ended_at, g.hung_up_at, g.bundle_id, g.language
FROM page g JOIN paging p USING (tenant_id, page_request_id)
WHERE g.page_id = %(lead)s OR g.bundle_id = %(lead)s
ORDER BY p.priority, p.created_at DESC, p.page_request_id

-- name: lock_line
-- One decision at a time about one person's phone, until the end of the transaction.
SELECT pg_advisory_xact_lock(7203, %(person_id)s)

-- name: line
-- What is known of a person's phone.
SELECT
    (SELECT count(*) > 0 FROM page
     WHERE person_id = %(person_id)s AND transport = 'voice' AND created_at > %(now)s - interval '10 minutes'
       AND state IN ('claimed', 'placed', 'ringing', 'answered')
       AND NOT (tenant_id = %(tenant_id)s AND page_request_id = %(page_request_id)s)),
    (SELECT count(DISTINCT coalesce(bundle_id, page_id)) FROM page
     WHERE person_id = %(person_id)s AND transport = 'voice' AND state NOT IN ('failed', 'in_doubt')
       AND created_at > %(now)s - make_interval(secs => %(window_s)s)),
    (SELECT max(coalesce(ended_at, created_at)) FROM page
     WHERE person_id = %(person_id)s AND transport = 'voice' AND state NOT IN ('failed', 'in_doubt')
       AND created_at > %(now)s - interval '1 hour'
       AND NOT (tenant_id = %(tenant_id)s AND page_request_id = %(page_request_id)s)),
    (SELECT count(DISTINCT coalesce(bundle_id, page_id)) FROM page
     WHERE transport = 'voice' AND state <> 'failed' AND created_at > %(now)s - interval '1 hour'),
    (SELECT max(created_at) FROM page WHERE transport = 'voice' AND created_at > %(now)s - interval '1 hour')

-- name: take_waiting
-- Other pagings that wait for this person's phone: they join its next call, worst and newest first.
SELECT tenant_id, page_request_id, ticket_id, policy, priority, step, attempt, round, fence, created_at, state,
    waiting_for, waiting_since, audience
FROM paging
WHERE state = 'active' AND waiting_for = %(person_id)s AND (lease_until IS NULL OR lease_until <= now())
  AND NOT (tenant_id = %(tenant_id)s AND page_request_id = %(page_request_id)s)
ORDER BY priority, created_at DESC
LIMIT %(most)s
FOR UPDATE SKIP LOCKED

-- name: joined
-- A paging whose ticket another one's call reads out: looked at on news of it, or when that pager died.
UPDATE paging
SET waiting_for = NULL, waiting_since = NULL, fence = fence + 1, woken = false,
    look_reason = 'read out in a summary call', next_look_at = %(now)s + make_interval(secs => %(lease_s)s)
WHERE tenant_id = %(tenant_id)s AND page_request_id = %(page_request_id)s

-- name: wake_waiting
-- The phone is free: the worst and newest paging that waits for it looks now.
UPDATE paging SET woken = true, next_look_at = %(now)s
WHERE (tenant_id, page_request_id) = (
    SELECT tenant_id, page_request_id FROM paging
    WHERE state = 'active' AND waiting_for = %(person_id)s
    ORDER BY priority, created_at DESC
    LIMIT 1
    FOR UPDATE SKIP LOCKED)

-- name: pages_of
-- All pages of one page request, oldest first.
SELECT tenant_id, page_id, page_request_id, person_id, person_name, address, transport, step, attempt, round,
       fence, state, provider, provider_ref, created_at, placed_at, ringing_at, answered_at, ended_at, hung_up_at,
       bundle_id, language
FROM page WHERE tenant_id = %(tenant_id)s AND page_request_id = %(page_request_id)s
ORDER BY created_at, page_id

-- name: known_refs
-- Which of the provider's calls are already known to be other pages.
SELECT provider_ref FROM page WHERE provider = %(provider)s AND provider_ref = ANY(%(refs)s)

-- name: tell
-- A line of the timeline.
INSERT INTO page_event (tenant_id, page_request_id, page_id, at, kind, text, detail)
VALUES (%(tenant_id)s, %(page_request_id)s, %(page_id)s, %(at)s, %(kind)s, %(text)s, %(detail)s)

-- name: tell_once
-- A line of the timeline that a repeated callback does not repeat.
INSERT INTO page_event (tenant_id, page_request_id, page_id, at, kind, text, detail)
SELECT %(tenant_id)s, %(page_request_id)s, %(page_id)s, %(at)s, %(kind)s, %(text)s, %(detail)s
WHERE NOT EXISTS (SELECT FROM page_event
                  WHERE tenant_id = %(tenant_id)s AND page_request_id = %(page_request_id)s
                    AND page_id = %(page_id)s::uuid AND kind = %(kind)s AND text = %(text)s)

-- name: person_by_key
-- One active person.
SELECT person_id, name FROM person WHERE key = %(key)s AND active

-- name: list_pagings
-- Pagings with their tickets, newest first; one tenant's or all.
SELECT p.tenant_id, p.page_request_id, c.key, t.number, t.title, p.priority, p.state, p.step, p.attempt, p.round,
       p.created_at, p.next_look_at, p.look_reason, p.end_reason
FROM paging p
JOIN ticket t ON t.tenant_id = p.tenant_id AND t.ticket_id = p.ticket_id
JOIN tenant c ON c.tenant_id = p.tenant_id
WHERE (%(tenant_id)s::int IS NULL OR p.tenant_id = %(tenant_id)s)
  AND (%(page_request_id)s::bigint IS NULL OR p.page_request_id = %(page_request_id)s)
  AND (%(state)s::text IS NULL OR p.state = %(state)s)
  AND (%(ticket)s::text IS NULL OR t.number = %(ticket)s)
  AND (%(page_id)s::uuid IS NULL OR EXISTS (
        SELECT FROM page g WHERE (g.tenant_id, g.page_request_id) = (p.tenant_id, p.page_request_id) AND g.page_id = %(page_id)s))
  AND (%(before)s::bigint IS NULL OR p.page_request_id < %(before)s)
ORDER BY p.page_request_id DESC
LIMIT %(limit)s

-- name: ticket_known
-- Whether there is such a ticket, within what the caller may see (NULL: everything).
SELECT FROM ticket
WHERE number = %(ticket)s AND (%(tenant_id)s::int IS NULL OR tenant_id = %(tenant_id)s)
  AND (%(deployment_id)s::int IS NULL OR deployment_id = %(deployment_id)s)

-- name: timeline
-- Everything that happened for one page request, in order.
SELECT event_no, page_id, at, kind, text, detail FROM page_event
WHERE tenant_id = %(tenant_id)s AND page_request_id = %(page_request_id)s
ORDER BY event_no

-- name: acknowledgements
-- Who answered, when and how.
SELECT a.acknowledgement_id, a.page_id, coalesce(n.name, a.proof->>'by', ''), a.at, a.channel, a.proof
FROM acknowledgement a LEFT JOIN person n USING (person_id)
WHERE a.tenant_id = %(tenant_id)s AND a.page_request_id = %(page_request_id)s
ORDER BY a.acknowledgement_id

-- name: sms_pages
-- Messages sent to a number within a day, newest first: what a reply may mean.
SELECT g.tenant_id, g.page_id, p.state, g.page_request_id
FROM page g JOIN paging p USING (tenant_id, page_request_id)
WHERE g.transport = 'sms' AND g.address = %(number)s AND g.created_at > %(now)s - interval '1 day'
ORDER BY g.created_at DESC

-- name: contacts
-- The customer's contacts for a ticket's deployment who can be called at any hour.
SELECT c.contact_id, c.name, c.phone, c.languages
FROM contact c JOIN ticket t ON t.tenant_id = c.tenant_id
WHERE t.tenant_id = %(tenant_id)s AND t.ticket_id = %(ticket_id)s AND c.reachable_24h
  AND (c.deployment_ids = '{}' OR t.deployment_id = ANY(c.deployment_ids))
ORDER BY c.contact_id

-- name: forget_pagings
-- Pagings of tickets closed before a time, with their pages and what happened to them; nothing that is due or open.
WITH old AS (
    SELECT p.tenant_id, p.page_request_id
    FROM paging p
    JOIN page_request q ON q.tenant_id = p.tenant_id AND q.page_request_id = p.page_request_id
    JOIN ticket t ON t.tenant_id = q.tenant_id AND t.ticket_id = q.ticket_id
    WHERE p.state <> 'active' AND p.next_look_at IS NULL AND q.ended_at < %(before)s
      AND t.state = 'closed' AND t.closed_at < %(before)s
    LIMIT %(limit)s FOR UPDATE OF p SKIP LOCKED),
events AS (
    DELETE FROM page_event e USING old o
    WHERE e.tenant_id = o.tenant_id AND e.page_request_id = o.page_request_id),
pages AS (
    DELETE FROM page g USING old o WHERE g.tenant_id = o.tenant_id AND g.page_request_id = o.page_request_id)
DELETE FROM paging p USING old o WHERE p.tenant_id = o.tenant_id AND p.page_request_id = o.page_request_id

-- name: forget_auditor_entries
-- Old entries of auditors' journals; their own files are theirs.
DELETE FROM auditor_entry WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM auditor_entry WHERE at < %(before)s LIMIT %(limit)s FOR UPDATE SKIP LOCKED))

-- name: forget_synthetic_runs
-- Old invented faults.
DELETE FROM synthetic_run WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM synthetic_run WHERE started_at < %(before)s LIMIT %(limit)s FOR UPDATE SKIP LOCKED))

-- name: forget_test_calls
-- Old test calls; the newest confirmed one of each person stays, it says that the phone works.
DELETE FROM test_call WHERE ctid = ANY (ARRAY(
    SELECT c.ctid FROM test_call c
    WHERE c.requested_at < %(before)s AND c.outcome <> 'calling'
      AND EXISTS (SELECT FROM test_call n WHERE n.person_id = c.person_id AND n.requested_at > c.requested_at
                     AND n.outcome = 'confirmed')
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
