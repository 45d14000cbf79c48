-- Ticketing's queries: registry, desk, people's actions, what later rooms read.

-- name: lock_registry
-- One applier at a time, until the end of the transaction.
SELECT pg_advisory_xact_lock(7023650001);

-- name: all_products
-- Every product.
SELECT key, name, end_of_life, end_of_support, newest_version FROM product ORDER BY key;

-- name: all_people
-- Every person of ours, also those who left.
SELECT person_id, key, name, email, phone, zone, languages, roles, active FROM person ORDER BY key;

-- name: all_tenants
-- Every customer.
SELECT key, name, facts FROM tenant ORDER BY key;

-- name: all_deployments
-- Every deployment, with the contract in force.
SELECT t.key, d.key, d.name, d.licence, d.theatre, d.zone, d.country, d.facts, c.document
  FROM deployment d
  JOIN tenant t USING (tenant_id)
  LEFT JOIN contract c ON (c.tenant_id, c.deployment_id) = (d.tenant_id, d.deployment_id)
                      AND c.superseded_at IS NULL
 ORDER BY t.key, d.key;

-- name: all_contacts
-- Every customer's contact; deployments by their keys.
SELECT t.key, c.key, c.name, c.email, c.phone, c.languages, c.reachable_24h,
       ARRAY(SELECT d.key
               FROM unnest(c.deployment_ids) WITH ORDINALITY AS i (deployment_id, n)
               JOIN deployment d ON d.tenant_id = c.tenant_id AND d.deployment_id = i.deployment_id
              ORDER BY i.n)
  FROM contact c
  JOIN tenant t USING (tenant_id)
 ORDER BY t.key, c.key;

-- name: upsert_product
-- Store a product as the document says.
INSERT INTO product (key, name, end_of_life, end_of_support, newest_version)
VALUES (%(key)s, %(name)s, %(end_of_life)s, %(end_of_support)s, %(newest_version)s)
ON CONFLICT (key) DO UPDATE
   SET name = excluded.name, end_of_life = excluded.end_of_life,
       end_of_support = excluded.end_of_support, newest_version = excluded.newest_version;

-- name: upsert_person
-- Store one of our people as the document says.
INSERT INTO person (key, name, email, phone, zone, languages, roles, active)
VALUES (%(key)s, %(name)s, %(email)s, %(phone)s, %(zone)s, %(languages)s, %(roles)s, %(active)s)
ON CONFLICT (key) DO UPDATE
   SET name = excluded.name, email = excluded.email, phone = excluded.phone, zone = excluded.zone,
       languages = excluded.languages, roles = excluded.roles, active = excluded.active;

-- name: upsert_tenant
-- Store a customer as the document says.
INSERT INTO tenant (key, name, facts, created_at)
VALUES (%(key)s, %(name)s, %(facts)s, %(now)s)
ON CONFLICT (key) DO UPDATE SET name = excluded.name, facts = excluded.facts;

-- name: upsert_deployment
-- Store a deployment as the document says.
INSERT INTO deployment (tenant_id, key, name, licence, theatre, zone, country, facts, created_at)
SELECT tenant_id, %(key)s, %(name)s, %(licence)s, %(theatre)s, %(zone)s, %(country)s, %(facts)s, %(now)s
  FROM tenant WHERE key = %(tenant)s
ON CONFLICT (tenant_id, key) DO UPDATE
   SET name = excluded.name, licence = excluded.licence, theatre = excluded.theatre, zone = excluded.zone,
       country = excluded.country, facts = excluded.facts;

-- name: supersede_contract
-- End the contract document in force; it stays as history.
UPDATE contract c SET superseded_at = %(now)s
  FROM deployment d JOIN tenant t USING (tenant_id)
 WHERE t.key = %(tenant)s AND d.key = %(key)s
   AND (c.tenant_id, c.deployment_id) = (d.tenant_id, d.deployment_id) AND c.superseded_at IS NULL;

-- name: insert_contract
-- Record a contract document as the one in force.
INSERT INTO contract (tenant_id, deployment_id, document, recorded_at, recorded_by)
SELECT d.tenant_id, d.deployment_id, %(document)s, %(now)s, %(actor)s
  FROM deployment d JOIN tenant t USING (tenant_id)
 WHERE t.key = %(tenant)s AND d.key = %(key)s;

-- name: upsert_contact
-- Store a customer's contact as the document says.
INSERT INTO contact (tenant_id, key, name, email, phone, languages, reachable_24h, deployment_ids)
SELECT t.tenant_id, %(key)s, %(name)s, %(email)s, %(phone)s, %(languages)s::text[], %(reachable_24h)s,
       ARRAY(SELECT d.deployment_id
               FROM unnest(%(deployments)s::text[]) WITH ORDINALITY AS i (key, n)
               JOIN deployment d ON d.tenant_id = t.tenant_id AND d.key = i.key
              ORDER BY i.n)
  FROM tenant t WHERE t.key = %(tenant)s
ON CONFLICT (tenant_id, key) DO UPDATE
   SET name = excluded.name, email = excluded.email, phone = excluded.phone, languages = excluded.languages,
       reachable_24h = excluded.reachable_24h, deployment_ids = excluded.deployment_ids;

-- name: delete_contact
-- A contact that the tenant's list no longer names.
DELETE FROM contact c USING tenant t
 WHERE t.tenant_id = c.tenant_id AND t.key = %(tenant)s AND c.key = %(key)s;

-- name: record_registry_change
-- The audit trail of the registry.
INSERT INTO registry_change (at, actor, origin, act, path, old, new)
VALUES (%(at)s, %(actor)s, %(origin)s, %(act)s, %(path)s, %(old)s, %(new)s);

-- name: reconsider_alerts
-- Alerts that fire without a ticket are decided again at once (tenants: keys; NULL = all).
UPDATE desk_progress p SET look_again_at = %(now)s
  FROM (SELECT tenant_id, alert_id FROM desk_progress
         WHERE look_again_at IS NOT NULL AND firing
           AND (%(tenants)s::text[] IS NULL
                OR tenant_id IN (SELECT tenant_id FROM tenant WHERE key = ANY (%(tenants)s::text[])))
         ORDER BY tenant_id, alert_id
           FOR UPDATE) AS w
 WHERE (p.tenant_id, p.alert_id) = (w.tenant_id, w.alert_id);

-- name: open_page_requests
-- What somebody must be rung for, oldest first.
SELECT tenant_id, page_request_id, ticket_id, audience, policy, requested_at, reason, ended_at, end_reason
  FROM page_request WHERE ended_at IS NULL ORDER BY requested_at, page_request_id;

-- name: ended_page_requests
-- Of these page requests, the ones that have ended.
SELECT tenant_id, page_request_id, ticket_id, audience, policy, requested_at, reason, ended_at, end_reason
  FROM page_request
 WHERE (tenant_id, page_request_id) IN (SELECT * FROM unnest(%(tenants)s::int[], %(requests)s::bigint[]))
   AND ended_at IS NOT NULL;

-- name: tickets_of_alerts
-- The newest ticket that speaks for each of these alerts.
SELECT DISTINCT ON (l.tenant_id, l.alert_id) l.alert_id, k.number, k.state
  FROM unnest(%(tenants)s::int[], %(alerts)s::bigint[]) AS w (tenant_id, alert_id)
  JOIN ticket_alert l USING (tenant_id, alert_id)
  JOIN ticket k ON (k.tenant_id, k.ticket_id) = (l.tenant_id, l.ticket_id)
 ORDER BY l.tenant_id, l.alert_id, l.ticket_id DESC;

-- name: briefing
-- What a person who is rung must hear (host and alert: read from their rooms' tables).
SELECT k.number, t.name, d.name, h.name, k.title, k.priority, k.state, k.opened_at,
       coalesce(a.since, k.opened_at), k.due_at, d.theatre, k.language
  FROM ticket k
  JOIN tenant t USING (tenant_id)
  JOIN deployment d USING (tenant_id, deployment_id)
  LEFT JOIN host h ON (h.tenant_id, h.host_id) = (k.tenant_id, k.host_id)
  LEFT JOIN alert a ON (a.tenant_id, a.alert_id) = (k.tenant_id, k.alert_id)
 WHERE k.tenant_id = %(tenant_id)s AND k.ticket_id = %(ticket_id)s;

-- name: list_tickets
-- Tickets that match, newest first, from a position on.
SELECT k.tenant_id, k.ticket_id, k.number, t.key, d.key, h.name, k.channel, k.priority, k.state, k.title,
       k.opened_at, k.opened_by, k.due_at, k.taken_at, k.taken_by, k.recovered_at, k.resolved_at, k.closed_at,
       k.next_look_at, k.language, k.flags, p.number, k.problem_key, k.episode, k.parked_at
  FROM ticket k
  JOIN tenant t USING (tenant_id)
  JOIN deployment d USING (tenant_id, deployment_id)
  LEFT JOIN host h ON (h.tenant_id, h.host_id) = (k.tenant_id, k.host_id)
  LEFT JOIN ticket p ON (p.tenant_id, p.ticket_id) = (k.tenant_id, k.parent_id)
 WHERE (%(tenant_id)s::int IS NULL OR k.tenant_id = %(tenant_id)s::int)
   AND (%(tenant)s::text IS NULL OR t.key = %(tenant)s::text)
   AND (%(deployment)s::text IS NULL OR d.key = %(deployment)s::text)
   AND (%(deployment_id)s::int IS NULL OR d.deployment_id = %(deployment_id)s::int)
   AND (%(states)s::text[] IS NULL OR k.state = ANY (%(states)s::text[]))
   AND (%(priority)s::int IS NULL OR k.priority = %(priority)s::int)
   AND (%(number)s::text IS NULL OR k.number = %(number)s::text)
   AND (%(before_id)s::bigint IS NULL OR k.ticket_id < %(before_id)s::bigint)
 ORDER BY k.ticket_id DESC
 LIMIT %(limit)s;

-- name: insert_ticket
-- Open a ticket, with the next number and the next episode of its problem.
INSERT INTO ticket (tenant_id, number, deployment_id, host_id, alert_id, problem_key, episode, channel, priority,
                    state, title, opened_at, opened_by, terms, decision, language, flags,
                    titles)
SELECT %(tenant_id)s, %(number_prefix)s || '-' || CASE WHEN n < 1000000 THEN lpad(n::text, 6, '0') ELSE n::text END,
       %(deployment_id)s, %(host_id)s, %(alert_id)s, %(problem_key)s,
       1 + (SELECT coalesce(max(episode), 0) FROM ticket
             WHERE tenant_id = %(tenant_id)s AND problem_key = %(problem_key)s),
       %(channel)s, %(priority)s, %(state)s, %(title)s, %(opened_at)s, %(opened_by)s, %(terms)s, %(decision)s,
       %(language)s, %(flags)s, %(titles)s
  FROM nextval('ticket_number') AS n
RETURNING ticket_id, number;

-- name: lock_ticket
-- One ticket, locked for the caller's transaction.
SELECT tenant_id, ticket_id, number, terms FROM ticket
 WHERE tenant_id = %(tenant_id)s AND ticket_id = %(ticket_id)s
   FOR NO KEY UPDATE;

-- name: lock_open_ticket
-- The ticket of a problem that is not closed, locked.
SELECT tenant_id, ticket_id, number, terms FROM ticket
 WHERE tenant_id = %(tenant_id)s AND problem_key = %(problem_key)s AND state <> 'closed'
   FOR NO KEY UPDATE;

-- name: claim_ticket
-- A ticket whose look is due, unless another desk has it in hand.
SELECT tenant_id, ticket_id, number, terms FROM ticket
 WHERE tenant_id = %(tenant_id)s AND ticket_id = %(ticket_id)s
   AND next_look_at <= %(now)s AND parked_at IS NULL
   FOR NO KEY UPDATE SKIP LOCKED;

-- name: ticket_history
-- What happened to a ticket, in the order of recording.
SELECT seq, at, kind, actor, detail, reason, origin, step FROM ticket_event
 WHERE tenant_id = %(tenant_id)s AND ticket_id = %(ticket_id)s
 ORDER BY seq;

-- name: insert_event
-- One more line of a ticket's history.
INSERT INTO ticket_event (tenant_id, ticket_id, seq, at, kind, actor, detail, reason, origin, step)
VALUES (%(tenant_id)s, %(ticket_id)s, %(seq)s, %(at)s, %(kind)s, %(actor)s, %(detail)s, %(reason)s, %(origin)s,
        %(step)s);

-- name: update_ticket
-- The columns that are derived from the history.
UPDATE ticket
   SET state = %(state)s, priority = %(priority)s, taken_at = %(taken_at)s, taken_by = %(taken_by)s,
       resolved_at = %(resolved_at)s, closed_at = %(closed_at)s, recovered_at = %(recovered_at)s,
       parent_id = (SELECT p.ticket_id FROM ticket p
                     WHERE p.tenant_id = %(tenant_id)s AND p.number = %(parent)s),
       due_at = %(due_at)s, next_look_at = %(next_look_at)s, failures = 0, last_error = NULL, parked_at = NULL
 WHERE tenant_id = %(tenant_id)s AND ticket_id = %(ticket_id)s;

-- name: open_pages_of_ticket
-- Whom this ticket has asked to be rung.
SELECT audience FROM page_request
 WHERE tenant_id = %(tenant_id)s AND ticket_id = %(ticket_id)s AND ended_at IS NULL;

-- name: insert_page_request
-- Ask for somebody to be rung.
INSERT INTO page_request (tenant_id, ticket_id, audience, policy, requested_at, reason)
VALUES (%(tenant_id)s, %(ticket_id)s, %(audience)s, %(policy)s, %(now)s, %(reason)s);

-- name: end_page_request
-- No further paging for this ticket and audience, and why.
UPDATE page_request SET ended_at = %(now)s, end_reason = %(reason)s
 WHERE tenant_id = %(tenant_id)s AND ticket_id = %(ticket_id)s AND audience = %(audience)s AND ended_at IS NULL;

-- name: due_alerts
-- Alerts with transitions the desk has not handled, those to act on first, the worst of these first; whether there
-- is nothing to act on (no transition asks for a ticket, no ticket of its own hangs on it); whether it is of a
-- part of the site, not of the site as a whole (alert and its transitions: read from alerting's tables).
SELECT a.tenant_id, a.alert_id, a.deployment_id,
       NOT EXISTS (SELECT FROM alert_transition x
                    WHERE x.tenant_id = a.tenant_id AND x.alert_id = a.alert_id
                      AND x.seq > coalesce(p.handled_seq, 0) AND x.to_state = 'firing' AND x.muted IS NULL)
       AND NOT EXISTS (SELECT FROM ticket_alert l JOIN ticket k USING (tenant_id, ticket_id)
                        WHERE l.tenant_id = a.tenant_id AND l.alert_id = a.alert_id AND l.firing
                          AND NOT 'storm' = ANY (k.flags)) AS quiet,
       a.host_id IS NOT NULL OR starts_with(a.rule_id, 'pushed.') AS partial,
       a.problem_key, a.fired_at
  FROM alert a
  LEFT JOIN desk_progress p ON (p.tenant_id, p.alert_id) = (a.tenant_id, a.alert_id)
 WHERE a.changed_at >= %(since)s
   AND a.fired_at IS NOT NULL
   AND a.last_seq > coalesce(p.handled_seq, 0)
   AND p.parked_at IS NULL
   AND (p.retry_at IS NULL OR p.retry_at <= %(now)s)
 ORDER BY quiet, a.priority, a.changed_at
 LIMIT %(limit)s;

-- name: newest_alert
-- How far the alerts have come, by database time.
SELECT max(changed_at) FROM alert;

-- name: alerts_to_reconsider
-- Alerts that fire without a ticket and are to be decided again.
SELECT p.tenant_id, p.alert_id, p.deployment_id, false,
       a.host_id IS NOT NULL OR starts_with(a.rule_id, 'pushed.'), a.problem_key, a.fired_at
  FROM desk_progress p
  JOIN alert a USING (tenant_id, alert_id)
 WHERE p.look_again_at <= %(now)s AND p.firing AND p.parked_at IS NULL AND (p.retry_at IS NULL OR p.retry_at <= %(now)s)
   AND coalesce(a.hidden, a.silenced) IS NULL
 ORDER BY p.look_again_at
 LIMIT %(limit)s;

-- name: add_progress
-- Make sure that there are rows to lock, in the order in which everybody makes them.
INSERT INTO desk_progress (tenant_id, alert_id, deployment_id)
SELECT k.tenant_id, k.alert_id, k.deployment_id
  FROM unnest(%(tenants)s::int[], %(alerts)s::bigint[], %(deployments)s::int[]) AS k (tenant_id, alert_id, deployment_id)
 ORDER BY 1, 2
ON CONFLICT DO NOTHING;

-- name: claim_many
-- Take alerts in hand, those that no other desk has.
SELECT p.tenant_id, p.alert_id, p.handled_seq, p.firing, p.priority, p.look_again_at
  FROM unnest(%(tenants)s::int[], %(alerts)s::bigint[]) AS k (tenant_id, alert_id)
  JOIN desk_progress p USING (tenant_id, alert_id)
 WHERE p.parked_at IS NULL AND (p.retry_at IS NULL OR p.retry_at <= %(now)s)
 ORDER BY p.tenant_id, p.alert_id
   FOR UPDATE OF p SKIP LOCKED;

-- name: save_many
-- How far alerts have been handled.
UPDATE desk_progress p
   SET handled_seq = k.handled_seq, firing = k.firing, priority = k.priority, look_again_at = k.look_again_at,
       failures = 0, last_error = NULL, retry_at = NULL
  FROM unnest(%(tenants)s::int[], %(alerts)s::bigint[], %(seqs)s::int[], %(firing)s::bool[], %(priorities)s::int[],
              %(looks)s::timestamptz[]) AS k (tenant_id, alert_id, handled_seq, firing, priority, look_again_at)
 WHERE p.tenant_id = k.tenant_id AND p.alert_id = k.alert_id;

-- name: record_no_tickets
-- Why there is no ticket, for many alerts; not where the newest record of an alert comes to the same.
INSERT INTO no_ticket (tenant_id, alert_id, seq, decided_at, outcome, decision)
SELECT k.tenant_id, k.alert_id, k.seq, %(now)s, %(outcome)s, k.decision
  FROM unnest(%(tenants)s::int[], %(alerts)s::bigint[], %(seqs)s::int[], %(decisions)s::jsonb[])
       AS k (tenant_id, alert_id, seq, decision)
 WHERE (SELECT n.outcome FROM no_ticket n
         WHERE n.tenant_id = k.tenant_id AND n.alert_id = k.alert_id
         ORDER BY n.decided_at DESC LIMIT 1) IS DISTINCT FROM %(outcome)s
ON CONFLICT DO NOTHING;

-- name: firing_links
-- For which tickets alerts fire, and whether that is a storm's.
SELECT l.tenant_id, l.alert_id, l.ticket_id, 'storm' = ANY (k.flags)
  FROM unnest(%(tenants)s::int[], %(alerts)s::bigint[]) AS w (tenant_id, alert_id)
  JOIN ticket_alert l USING (tenant_id, alert_id)
  JOIN ticket k ON (k.tenant_id, k.ticket_id) = (l.tenant_id, l.ticket_id)
 WHERE l.firing;

-- name: quiet_many
-- Alerts of a ticket have ended.
UPDATE ticket_alert SET firing = false
 WHERE tenant_id = %(tenant_id)s AND ticket_id = %(ticket_id)s AND alert_id = ANY (%(alerts)s::bigint[]) AND firing;

-- name: still_firing
-- How many alerts of a ticket fire.
SELECT count(*) FROM ticket_alert
 WHERE tenant_id = %(tenant_id)s AND ticket_id = %(ticket_id)s AND firing;

-- name: link_many
-- Alerts are a ticket's; of those, how many were not before.
WITH linked AS (
    INSERT INTO ticket_alert (tenant_id, ticket_id, alert_id, firing)
    SELECT %(tenant_id)s, %(ticket_id)s, k.alert_id, k.firing
      FROM unnest(%(alerts)s::bigint[], %(firing)s::bool[]) AS k (alert_id, firing)
     ORDER BY 3
    ON CONFLICT (tenant_id, ticket_id, alert_id) DO UPDATE SET firing = excluded.firing
    RETURNING xmax = 0 AS new)
SELECT count(*) FILTER (WHERE new) FROM linked;

-- name: storms
-- Of these sites, those with a storm's ticket that may still take alerts in.
SELECT k.tenant_id, k.deployment_id
  FROM unnest(%(tenants)s::int[], %(deployments)s::int[]) AS w (tenant_id, deployment_id)
  JOIN ticket k USING (tenant_id, deployment_id)
 WHERE 'storm' = ANY (k.flags) AND k.state NOT IN ('resolved', 'closed') AND k.recovered_at IS NULL
   AND k.opened_at > %(since)s;

-- name: lock_storm
-- A site's newest storm's ticket that may still take alerts in, locked.
SELECT tenant_id, ticket_id, number, terms FROM ticket
 WHERE tenant_id = %(tenant_id)s AND deployment_id = %(deployment_id)s AND 'storm' = ANY (flags)
   AND state NOT IN ('resolved', 'closed') AND opened_at > %(since)s
 ORDER BY ticket_id DESC LIMIT 1
   FOR NO KEY UPDATE;

-- name: lately_opened
-- Problems of these sites for which monitoring opened a ticket of their own lately, and when.
SELECT k.tenant_id, k.deployment_id, k.problem_key, k.opened_at
  FROM unnest(%(tenants)s::int[], %(deployments)s::int[]) AS w (tenant_id, deployment_id)
  JOIN ticket k USING (tenant_id, deployment_id)
 WHERE k.channel = 'proactive' AND k.state <> 'closed' AND k.opened_at >= %(since)s
   AND NOT 'storm' = ANY (k.flags);

-- name: problems_with_ticket
-- Of these problems of a customer, those with a ticket that is not closed.
SELECT problem_key FROM ticket
 WHERE tenant_id = %(tenant_id)s AND problem_key = ANY (%(problems)s::text[]) AND state <> 'closed';

-- name: lock_outlasting
-- The progress of what still fires of a storm whose ticket is done with, locked before its ticket is.
SELECT FROM ticket k
  JOIN ticket_alert l ON (l.tenant_id, l.ticket_id) = (k.tenant_id, k.ticket_id) AND l.firing
  JOIN desk_progress p ON (p.tenant_id, p.alert_id) = (l.tenant_id, l.alert_id)
 WHERE k.tenant_id = %(tenant_id)s AND k.ticket_id = %(ticket_id)s AND 'storm' = ANY (k.flags)
   AND k.state IN ('resolved', 'closed')
 ORDER BY p.alert_id
   FOR UPDATE OF p;

-- name: outlasting
-- What still fires of a storm whose ticket is done with is decided again, on its own.
UPDATE desk_progress p SET look_again_at = %(now)s
  FROM ticket_alert l
 WHERE l.tenant_id = %(tenant_id)s AND l.ticket_id = %(ticket_id)s AND l.firing
   AND (p.tenant_id, p.alert_id) = (l.tenant_id, l.alert_id) AND p.firing AND p.look_again_at IS NULL
   AND NOT EXISTS (SELECT FROM ticket_alert o WHERE (o.tenant_id, o.alert_id) = (l.tenant_id, l.alert_id)
                      AND o.ticket_id <> l.ticket_id AND o.firing);

-- name: claim_progress
-- Take an alert in hand, unless another desk has it.
SELECT handled_seq, firing, priority, look_again_at FROM desk_progress
 WHERE tenant_id = %(tenant_id)s AND alert_id = %(alert_id)s AND parked_at IS NULL
   FOR UPDATE SKIP LOCKED;

-- name: save_progress
-- How far the alert has been handled.
UPDATE desk_progress
   SET handled_seq = %(handled_seq)s, firing = %(firing)s, priority = %(priority)s,
       look_again_at = %(look_again_at)s, failures = 0, last_error = NULL, retry_at = NULL
 WHERE tenant_id = %(tenant_id)s AND alert_id = %(alert_id)s;

-- name: fail_alert
-- One more failure of an alert; the last one parks it.
UPDATE desk_progress
   SET failures = failures + 1, last_error = %(error)s, retry_at = %(now)s + %(pause)s * power(2, failures),
       parked_at = CASE WHEN failures + 1 >= %(most)s THEN %(now)s END
 WHERE tenant_id = %(tenant_id)s AND alert_id = %(id)s
RETURNING failures, parked_at IS NOT NULL;

-- name: fail_ticket
-- One more failure of a ticket's look; the last one parks it.
UPDATE ticket
   SET failures = failures + 1, last_error = %(error)s, next_look_at = %(now)s + %(pause)s * power(2, failures),
       parked_at = CASE WHEN failures + 1 >= %(most)s THEN %(now)s END
 WHERE tenant_id = %(tenant_id)s AND ticket_id = %(id)s
RETURNING failures, parked_at IS NOT NULL;

-- name: fail_acknowledgement
-- One more failure of an acknowledgement; the last one parks it.
INSERT INTO acknowledgement_progress AS p (tenant_id, acknowledgement_id, failures, last_error, retry_at, parked_at)
VALUES (%(tenant_id)s, %(id)s, 1, %(error)s, %(now)s + %(pause)s::interval,
        CASE WHEN %(most)s <= 1 THEN %(now)s END)
ON CONFLICT (tenant_id, acknowledgement_id) DO UPDATE
   SET failures = p.failures + 1, last_error = %(error)s, retry_at = %(now)s + %(pause)s * power(2, p.failures),
       parked_at = CASE WHEN p.failures + 1 >= %(most)s THEN %(now)s END
RETURNING failures, parked_at IS NOT NULL;

-- name: lock_problem
-- One desk at a time decides about a problem, until the end of the transaction.
SELECT pg_advisory_xact_lock(hashtextextended(%(problem_key)s, %(tenant_id)s));

-- name: record_no_ticket
-- Why there is no ticket.
INSERT INTO no_ticket (tenant_id, alert_id, seq, decided_at, outcome, decision)
VALUES (%(tenant_id)s, %(alert_id)s, %(seq)s, %(now)s, %(outcome)s, %(decision)s)
ON CONFLICT DO NOTHING;

-- name: last_no_ticket
-- The newest such decision about an alert.
SELECT outcome, decision FROM no_ticket
 WHERE tenant_id = %(tenant_id)s AND alert_id = %(alert_id)s
 ORDER BY decided_at DESC LIMIT 1;

-- name: link_alert
-- An alert is one of a ticket's problem.
INSERT INTO ticket_alert (tenant_id, ticket_id, alert_id, firing)
VALUES (%(tenant_id)s, %(ticket_id)s, %(alert_id)s, true)
ON CONFLICT (tenant_id, ticket_id, alert_id) DO UPDATE SET firing = true
RETURNING xmax = 0;

-- name: quiet_alert
-- An alert has ended: the tickets that it still fired for and whether others still fire there.
UPDATE ticket_alert l SET firing = false
  FROM ticket k
 WHERE (k.tenant_id, k.ticket_id) = (l.tenant_id, l.ticket_id)
   AND l.tenant_id = %(tenant_id)s AND l.alert_id = %(alert_id)s AND l.firing
RETURNING l.ticket_id, k.state <> 'closed',
          EXISTS (SELECT FROM ticket_alert o
                   WHERE (o.tenant_id, o.ticket_id) = (l.tenant_id, l.ticket_id)
                     AND o.alert_id <> l.alert_id AND o.firing);

-- name: tickets_above
-- The tickets of whole sites that an alert's casework may need, in the order of their locks, and whether it may
-- change them: those that it fires for and its problem's own; for an alert of a host ("joins") those that may stand
-- for a new one, which of every priority is the first that is as urgent (never what another program pushed).
SELECT ticket_id, bool_or(changes) FROM (
    SELECT k.ticket_id, true AS changes
      FROM ticket_alert l
      JOIN ticket k ON (k.tenant_id, k.ticket_id) = (l.tenant_id, l.ticket_id)
     WHERE l.tenant_id = %(tenant_id)s AND l.alert_id = %(alert_id)s AND l.firing AND k.host_id IS NULL
    UNION ALL
    SELECT ticket_id, true FROM ticket
     WHERE tenant_id = %(tenant_id)s AND problem_key = %(problem_key)s AND state <> 'closed' AND host_id IS NULL
    UNION ALL
    SELECT ticket_id, false
      FROM (SELECT ticket_id, priority, min(priority) OVER (
                       ORDER BY ticket_id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
              FROM ticket
             WHERE tenant_id = %(tenant_id)s AND deployment_id = %(deployment_id)s AND host_id IS NULL
               AND %(joins)s AND channel = 'proactive' AND state NOT IN ('held', 'resolved', 'closed')
               AND recovered_at IS NULL AND taken_at IS NULL
               AND NOT starts_with(split_part(problem_key, '/', 4), 'pushed.')) AS s
     WHERE before IS NULL OR priority < before) AS above
 GROUP BY ticket_id ORDER BY ticket_id;

-- name: hold_ticket
-- One ticket stays as it is to the end of the caller's transaction.
SELECT FROM ticket WHERE tenant_id = %(tenant_id)s AND ticket_id = %(ticket_id)s FOR SHARE;

-- name: due_tickets
-- Tickets whose look is due, the most urgent first.
SELECT tenant_id, ticket_id FROM ticket
 WHERE next_look_at <= %(now)s AND parked_at IS NULL
 ORDER BY priority, next_look_at
 LIMIT %(limit)s;

-- name: new_acknowledgements
-- Acknowledgements that were not consumed yet (written by on-call), the oldest first.
SELECT a.tenant_id, a.acknowledgement_id
  FROM acknowledgement a
  LEFT JOIN acknowledgement_progress p USING (tenant_id, acknowledgement_id)
 WHERE a.at >= %(since)s
   AND p.handled_at IS NULL AND p.parked_at IS NULL
   AND (p.retry_at IS NULL OR p.retry_at <= %(now)s)
 ORDER BY a.at, a.acknowledgement_id
 LIMIT %(limit)s;

-- name: acknowledgement_of
-- One acknowledgement, with its person and the audience that was rung.
SELECT a.ticket_id, a.at, a.channel, p.key, p.name, r.audience, a.page_request_id
  FROM acknowledgement a
  LEFT JOIN person p USING (person_id)
  LEFT JOIN page_request r USING (tenant_id, page_request_id)
 WHERE a.tenant_id = %(tenant_id)s AND a.acknowledgement_id = %(acknowledgement_id)s;

-- name: consume_acknowledgement
-- Mark an acknowledgement as consumed; no row when it was already.
INSERT INTO acknowledgement_progress AS p (tenant_id, acknowledgement_id, handled_at)
VALUES (%(tenant_id)s, %(acknowledgement_id)s, %(now)s)
ON CONFLICT (tenant_id, acknowledgement_id) DO UPDATE SET handled_at = excluded.handled_at
   WHERE p.handled_at IS NULL
RETURNING acknowledgement_id;

-- name: outcome_of_acknowledgement
-- What an acknowledgement came to.
UPDATE acknowledgement_progress SET outcome = %(outcome)s
 WHERE tenant_id = %(tenant_id)s AND acknowledgement_id = %(acknowledgement_id)s;

-- name: deployment_facts
-- All that is known of one deployment (hosts, agents, last contact: read from their rooms' tables).
SELECT t.name, d.name, d.licence, d.theatre, d.zone, d.country, d.facts, c.document,
       EXISTS (SELECT FROM host h JOIN agent a USING (tenant_id, host_id)
                WHERE (h.tenant_id, h.deployment_id) = (d.tenant_id, d.deployment_id)),
       v.version, v.last_seen
  FROM deployment d
  JOIN tenant t USING (tenant_id)
  LEFT JOIN contract c ON (c.tenant_id, c.deployment_id) = (d.tenant_id, d.deployment_id)
                      AND c.superseded_at IS NULL
  LEFT JOIN LATERAL (
       SELECT h.facts ->> 'platform_version' AS version, s.last_seen
         FROM host h LEFT JOIN host_state s USING (tenant_id, host_id)
        WHERE (h.tenant_id, h.deployment_id) = (d.tenant_id, d.deployment_id)
          AND h.facts ->> 'platform_version' IS NOT NULL
        ORDER BY h.host_id IS NOT DISTINCT FROM %(host_id)s::bigint DESC, s.last_seen DESC NULLS LAST
        LIMIT 1) v ON true
 WHERE d.tenant_id = %(tenant_id)s AND d.deployment_id = %(deployment_id)s;

-- name: contacts_of_deployment
-- The customer's people who answer for a deployment.
SELECT name, email, phone, languages, reachable_24h FROM contact
 WHERE tenant_id = %(tenant_id)s AND (deployment_ids = '{}' OR %(deployment_id)s = ANY (deployment_ids))
 ORDER BY cardinality(deployment_ids) = 0, contact_id;

-- name: products_named
-- Products by their keys.
SELECT p.key, p.name, p.end_of_life, p.end_of_support, p.newest_version
  FROM product p WHERE p.key = ANY (%(keys)s::text[]);

-- name: ticket_by_number
-- Which ticket has this number, within the caller's tenant (NULL: all).
SELECT tenant_id, ticket_id FROM ticket
 WHERE number = %(number)s AND (%(tenant_id)s::int IS NULL OR tenant_id = %(tenant_id)s::int);

-- name: deployment_ids
-- The ids of a deployment named by its keys, within the caller's tenant (NULL: all).
SELECT t.tenant_id, d.deployment_id FROM tenant t JOIN deployment d USING (tenant_id)
 WHERE t.key = %(tenant)s AND d.key = %(deployment)s
   AND (%(tenant_id)s::int IS NULL OR t.tenant_id = %(tenant_id)s::int);

-- name: ticket_papers
-- What was decided at opening and under which terms.
SELECT terms, decision, last_error, titles FROM ticket
 WHERE tenant_id = %(tenant_id)s AND ticket_id = %(ticket_id)s;

-- name: pages_of_ticket
-- Every page request of a ticket.
SELECT page_request_id, audience, policy, requested_at, reason, ended_at, end_reason FROM page_request
 WHERE tenant_id = %(tenant_id)s AND ticket_id = %(ticket_id)s ORDER BY page_request_id;

-- name: alerts_of_ticket
-- The alerts of a ticket's problem.
SELECT alert_id, firing FROM ticket_alert
 WHERE tenant_id = %(tenant_id)s AND ticket_id = %(ticket_id)s ORDER BY alert_id;

-- name: list_no_tickets
-- Alerts that got no ticket, and why, newest first (alert: read from alerting's table).
SELECT t.key AS tenant, d.key AS deployment, n.alert_id, a.rule_id AS rule, a.summary, n.seq, n.decided_at, n.outcome, n.decision
  FROM no_ticket n
  JOIN alert a USING (tenant_id, alert_id)
  JOIN tenant t USING (tenant_id)
  JOIN deployment d USING (tenant_id, deployment_id)
 WHERE (%(tenant_id)s::int IS NULL OR n.tenant_id = %(tenant_id)s::int)
   AND (%(tenant)s::text IS NULL OR t.key = %(tenant)s::text)
   AND (%(deployment_id)s::int IS NULL OR a.deployment_id = %(deployment_id)s::int)
   AND (%(alert_id)s::bigint IS NULL OR n.alert_id = %(alert_id)s::bigint)
   AND (%(before)s::timestamptz IS NULL OR n.decided_at < %(before)s::timestamptz)
 ORDER BY n.decided_at DESC, n.alert_id DESC
 LIMIT %(limit)s;

-- name: parked_items
-- What failed again and again and waits for a person, the newest first.
SELECT kind, tenant_id, id, failures, last_error, parked_at FROM (
    SELECT 'alert' AS kind, tenant_id, alert_id AS id, failures, last_error, parked_at
      FROM desk_progress WHERE parked_at IS NOT NULL
    UNION ALL
    SELECT 'ticket', tenant_id, ticket_id, failures, last_error, parked_at
      FROM ticket WHERE parked_at IS NOT NULL
    UNION ALL
    SELECT 'acknowledgement', tenant_id, acknowledgement_id, failures, last_error, parked_at
      FROM acknowledgement_progress WHERE parked_at IS NOT NULL
    UNION ALL
    SELECT 'report', tenant_id, report_id, failures, last_error, parked_at
      FROM on_call_report_progress WHERE parked_at IS NOT NULL) AS parked
 ORDER BY parked_at DESC LIMIT 1000;

-- name: retry_alert
-- A parked alert may be tried again.
UPDATE desk_progress SET parked_at = NULL, failures = 0, retry_at = NULL
 WHERE tenant_id = %(tenant_id)s AND alert_id = %(id)s AND parked_at IS NOT NULL RETURNING 1;

-- name: retry_ticket
-- A parked ticket may be looked at again.
UPDATE ticket SET parked_at = NULL, failures = 0, next_look_at = %(now)s
 WHERE tenant_id = %(tenant_id)s AND ticket_id = %(id)s AND parked_at IS NOT NULL RETURNING 1;

-- name: retry_acknowledgement
-- A parked acknowledgement may be tried again.
UPDATE acknowledgement_progress SET parked_at = NULL, failures = 0, retry_at = NULL
 WHERE tenant_id = %(tenant_id)s AND acknowledgement_id = %(id)s AND parked_at IS NOT NULL RETURNING 1;

-- name: contract_history
-- Every contract document that a deployment ever had, newest first.
SELECT c.contract_id, c.document, c.recorded_at, c.recorded_by, c.superseded_at
  FROM contract c
 WHERE c.tenant_id = %(tenant_id)s AND c.deployment_id = %(deployment_id)s
 ORDER BY c.contract_id DESC;

-- name: registry_changes
-- The registry's audit trail, newest first.
SELECT change_no, at, actor, origin, act, path, old, new FROM registry_change
 WHERE %(before)s::bigint IS NULL OR change_no < %(before)s::bigint
 ORDER BY change_no DESC LIMIT %(limit)s;

-- name: open_parent
-- The site's own open ticket that stands for its hosts, if it is no less urgent; none that others hold, none of
-- what another program pushed: that is a part's, and must keep no host's page back.
SELECT number, ticket_id, terms FROM ticket
 WHERE tenant_id = %(tenant_id)s AND deployment_id = %(deployment_id)s AND host_id IS NULL
   AND channel = 'proactive' AND state NOT IN ('held', 'resolved', 'closed') AND recovered_at IS NULL
   AND priority <= %(priority)s AND taken_at IS NULL
   AND NOT starts_with(split_part(problem_key, '/', 4), 'pushed.')
 ORDER BY ticket_id LIMIT 1
   FOR SHARE SKIP LOCKED;

-- name: standing
-- A site's ticket by its number, if it stands for its hosts and is no less urgent.
SELECT number, ticket_id, terms FROM ticket
 WHERE tenant_id = %(tenant_id)s AND number = %(number)s
   AND state NOT IN ('held', 'resolved', 'closed') AND recovered_at IS NULL
   AND priority <= %(priority)s AND taken_at IS NULL
   AND NOT starts_with(split_part(problem_key, '/', 4), 'pushed.');

-- name: orphans
-- Open tickets of a site's hosts that are no more urgent than the site's own and have no parent.
SELECT ticket_id FROM ticket
 WHERE tenant_id = %(tenant_id)s AND deployment_id = %(deployment_id)s AND host_id IS NOT NULL
   AND channel = 'proactive' AND state NOT IN ('held', 'resolved', 'closed') AND recovered_at IS NULL
   AND parent_id IS NULL AND priority >= %(priority)s
 ORDER BY ticket_id;

-- name: children
-- The tickets that a ticket stands for.
SELECT ticket_id FROM ticket
 WHERE tenant_id = %(tenant_id)s AND parent_id = %(ticket_id)s AND state <> 'closed'
 ORDER BY ticket_id;

-- name: booking_now
-- The agreed on-call assistance of a deployment at an instant, if any.
SELECT booking_id, until_at, reason, agreed_by FROM on_call_booking
 WHERE tenant_id = %(tenant_id)s AND deployment_id = %(deployment_id)s AND cancelled_at IS NULL
   AND from_at <= %(now)s AND until_at > %(now)s
 ORDER BY until_at DESC LIMIT 1;

-- name: insert_booking
-- Agree on on-call assistance.
INSERT INTO on_call_booking (tenant_id, deployment_id, from_at, until_at, reason, agreed_by, agreed_at)
VALUES (%(tenant_id)s, %(deployment_id)s, %(from_at)s, %(until_at)s, %(reason)s, %(agreed_by)s, %(now)s)
RETURNING booking_id;

-- name: cancel_booking
-- It is not wanted after all; no row when there is none to cancel.
UPDATE on_call_booking SET cancelled_at = %(now)s, cancelled_by = %(by)s
 WHERE booking_id = %(booking_id)s AND cancelled_at IS NULL
   AND (%(tenant_id)s::int IS NULL OR tenant_id = %(tenant_id)s::int)
   AND (%(deployment_id)s::int IS NULL OR deployment_id = %(deployment_id)s::int)
RETURNING 1;

-- name: list_bookings
-- Agreed on-call assistance that is not over, the next first.
SELECT b.booking_id, t.key AS tenant, d.key AS deployment, b.from_at, b.until_at, b.reason, b.agreed_by,
       b.agreed_at, b.cancelled_at, b.cancelled_by
  FROM on_call_booking b
  JOIN tenant t USING (tenant_id)
  JOIN deployment d USING (tenant_id, deployment_id)
 WHERE b.until_at > %(now)s AND (%(tenant_id)s::int IS NULL OR b.tenant_id = %(tenant_id)s::int)
   AND (%(deployment_id)s::int IS NULL OR b.deployment_id = %(deployment_id)s::int)
 ORDER BY b.from_at, b.booking_id LIMIT 1000;

-- name: new_reports
-- Customers who rang the on-call line and confirmed (written by on-call) and have no ticket yet, the oldest first.
SELECT r.tenant_id, r.report_id
  FROM on_call_report r
  LEFT JOIN on_call_report_progress p USING (tenant_id, report_id)
 WHERE r.confirmed_at >= %(since)s
   AND p.handled_at IS NULL AND p.parked_at IS NULL
   AND (p.retry_at IS NULL OR p.retry_at <= %(now)s)
 ORDER BY r.confirmed_at, r.report_id
 LIMIT %(limit)s;

-- name: consume_report
-- Mark a report as consumed; no row when it was already.
INSERT INTO on_call_report_progress AS p (tenant_id, report_id, handled_at)
VALUES (%(tenant_id)s, %(report_id)s, %(now)s)
ON CONFLICT (tenant_id, report_id) DO UPDATE SET handled_at = excluded.handled_at
   WHERE p.handled_at IS NULL
RETURNING report_id;

-- name: report_called_in
-- One report with its customer, and that customer's latest ticket from the line for which somebody is being rung now.
SELECT t.key, d.key, r.caller, r.confirmed_at, r.reason, (
         SELECT k.ticket_id FROM ticket k
          WHERE k.tenant_id = r.tenant_id AND k.deployment_id = r.deployment_id AND k.state = 'new'
            AND k.problem_key LIKE t.key || '/' || d.key || '/reported/on-call-line-%%'
            AND EXISTS (SELECT FROM page_request q
                         WHERE (q.tenant_id, q.ticket_id) = (k.tenant_id, k.ticket_id)
                           AND q.audience = 'technician' AND q.ended_at IS NULL)
          ORDER BY k.ticket_id DESC LIMIT 1)
  FROM on_call_report r
  JOIN tenant t USING (tenant_id)
  JOIN deployment d USING (tenant_id, deployment_id)
 WHERE r.tenant_id = %(tenant_id)s AND r.report_id = %(report_id)s;

-- name: outcome_of_report
-- What a report came to.
UPDATE on_call_report_progress SET outcome = %(outcome)s, ticket_id = %(ticket_id)s
 WHERE tenant_id = %(tenant_id)s AND report_id = %(report_id)s;

-- name: fail_report
-- One more failure of a report; the last one parks it.
INSERT INTO on_call_report_progress AS p (tenant_id, report_id, failures, last_error, retry_at, parked_at)
VALUES (%(tenant_id)s, %(id)s, 1, %(error)s, %(now)s + %(pause)s::interval,
        CASE WHEN %(most)s <= 1 THEN %(now)s END)
ON CONFLICT (tenant_id, report_id) DO UPDATE
   SET failures = p.failures + 1, last_error = %(error)s, retry_at = %(now)s + %(pause)s * power(2, p.failures),
       parked_at = CASE WHEN p.failures + 1 >= %(most)s THEN %(now)s END
RETURNING failures, parked_at IS NOT NULL;

-- name: retry_report
-- A parked report may be tried again.
UPDATE on_call_report_progress SET parked_at = NULL, failures = 0, retry_at = NULL
 WHERE tenant_id = %(tenant_id)s AND report_id = %(id)s AND parked_at IS NOT NULL RETURNING 1;

-- name: forget_letters
-- Letters that were sent, or given up, before a time.
DELETE FROM outbox WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM outbox WHERE next_try_at IS NULL AND created_at < %(before)s
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED))

-- name: forget_decisions
-- Decisions against a ticket, before a time, whose alert is forgotten too.
DELETE FROM no_ticket WHERE ctid = ANY (ARRAY(
    SELECT n.ctid FROM no_ticket n
    WHERE n.decided_at < %(before)s
      AND NOT EXISTS (SELECT FROM alert a WHERE a.tenant_id = n.tenant_id AND a.alert_id = n.alert_id)
    LIMIT %(limit)s FOR UPDATE SKIP LOCKED))

-- name: forget_progress
-- How far the desk came with alerts that are forgotten, customer by customer (alert: alerting's table; both are read
-- by their keys). What is parked stays: it waits for a person.
DELETE FROM desk_progress WHERE ctid = ANY (ARRAY(
    SELECT p.ctid FROM desk_progress p
    WHERE p.parked_at IS NULL
      AND NOT EXISTS (SELECT FROM alert a WHERE a.tenant_id = p.tenant_id AND a.alert_id = p.alert_id)
    ORDER BY p.tenant_id, p.alert_id LIMIT %(limit)s FOR UPDATE SKIP LOCKED));

-- name: forget_registry_changes
-- The oldest of the trail of changes to the registry.
DELETE FROM registry_change WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM registry_change WHERE at < %(before)s LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
