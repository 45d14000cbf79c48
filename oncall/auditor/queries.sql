-- The auditor's SQL. It reads alerting's, ticketing's and on-call's tables by its own statements, on purpose: the
-- rooms' own queries are part of what it checks. It writes auditor_entry alone.

-- name: critical_alerts
-- Firing critical alerts that nobody muted, newest first, with what became of each. A customer who was told is no
-- technician: only our own people's phones and answers count. Who lets a ticket wait answers for it.
SELECT a.tenant_id, a.alert_id, t.name, a.summary, f.at, n.outcome, k.number,
       coalesce(k.taken_at IS NOT NULL OR k.state IN ('held', 'waiting_customer', 'waiting_third_party', 'resolved', 'closed'), false),
       coalesce(k.terms #>> '{terms,plan}' = ANY (%(plans)s) AND NOT coalesce((k.terms #>> '{terms,asia_pacific}')::boolean, false)
                AND k.priority = 1, false),
       r.asked_at, g.rang_at, w.answered_at
FROM alert a
JOIN tenant t USING (tenant_id)
CROSS JOIN LATERAL (
    SELECT coalesce(min(x.recorded_at), a.fired_at) AS at FROM alert_transition x
    WHERE x.tenant_id = a.tenant_id AND x.alert_id = a.alert_id AND x.to_state = 'firing' AND x.priority = 1
      AND x.muted IS NULL) f
LEFT JOIN LATERAL (
    SELECT coalesce(o.parent_id, o.ticket_id) AS ticket_id FROM ticket_alert l
    JOIN ticket o USING (tenant_id, ticket_id)
    WHERE l.tenant_id = a.tenant_id AND l.alert_id = a.alert_id
    ORDER BY l.ticket_id DESC LIMIT 1) l ON true
LEFT JOIN ticket k ON k.tenant_id = a.tenant_id AND k.ticket_id = l.ticket_id
LEFT JOIN LATERAL (
    SELECT d.outcome FROM no_ticket d WHERE d.tenant_id = a.tenant_id AND d.alert_id = a.alert_id
    ORDER BY d.decided_at DESC LIMIT 1) n ON true
LEFT JOIN LATERAL (
    SELECT max(q.requested_at) AS asked_at FROM page_request q
    WHERE q.tenant_id = k.tenant_id AND q.ticket_id = k.ticket_id AND q.audience = 'technician' AND q.ended_at IS NULL) r ON true
LEFT JOIN LATERAL (
    SELECT greatest(max(p.ringing_at), max(p.answered_at)) AS rang_at FROM page_request q
    JOIN page p USING (tenant_id, page_request_id)
    WHERE q.tenant_id = k.tenant_id AND q.ticket_id = k.ticket_id AND q.audience = 'technician') g ON true
LEFT JOIN LATERAL (
    SELECT max(w.at) AS answered_at FROM acknowledgement w
    WHERE w.tenant_id = k.tenant_id AND w.ticket_id = k.ticket_id AND w.person_id IS NOT NULL) w ON true
WHERE a.state IN ('firing', 'recovering') AND a.priority = 1 AND a.hidden IS NULL AND a.silenced IS NULL
ORDER BY f.at DESC NULLS LAST
LIMIT 5000

-- name: reported
-- What people reported and on-call must be rung for: calls to the on-call line that the desk has not seen, and open
-- tickets that no alert stands behind.
SELECT 'report', r.tenant_id, r.report_id, t.name, 'A critical problem was reported by telephone', r.confirmed_at, NULL, NULL,
       false, true, NULL, NULL, NULL
FROM on_call_report r
JOIN tenant t USING (tenant_id)
LEFT JOIN on_call_report_progress p USING (tenant_id, report_id)
WHERE r.confirmed_at IS NOT NULL AND p.handled_at IS NULL
UNION ALL
SELECT 'ticket', k.tenant_id, k.ticket_id, t.name, k.title, k.opened_at, NULL, k.number,
       k.taken_at IS NOT NULL OR k.state IN ('held', 'waiting_customer', 'waiting_third_party'),
       coalesce(k.terms #>> '{terms,plan}' = ANY (%(plans)s) AND NOT coalesce((k.terms #>> '{terms,asia_pacific}')::boolean, false)
                AND k.priority = 1 AND k.channel <> 'email', false),
       q.asked_at, q.rang_at, q.answered_at
FROM ticket k
JOIN tenant t USING (tenant_id)
LEFT JOIN LATERAL (
    SELECT max(r.requested_at) FILTER (WHERE r.ended_at IS NULL) AS asked_at,
           max(greatest(p.ringing_at, p.answered_at)) AS rang_at, max(w.at) AS answered_at
    FROM page_request r
    LEFT JOIN page p USING (tenant_id, page_request_id)
    LEFT JOIN acknowledgement w USING (tenant_id, page_request_id)
    WHERE r.tenant_id = k.tenant_id AND r.ticket_id = k.ticket_id AND r.audience = 'technician') q ON true
WHERE k.channel <> 'proactive' AND k.parent_id IS NULL AND k.state NOT IN ('resolved', 'closed')
  AND (k.priority = 1 OR q.asked_at IS NOT NULL)
LIMIT 5000

-- name: alarms
-- What on-call itself wants our operations to know.
SELECT alarm_id, detail, urgent FROM oncall_alarm WHERE ended_at IS NULL ORDER BY alarm_id

-- name: gap_look
-- The newest look for gaps in the rota.
SELECT c.checked_at, c.gaps, (SELECT min(g.starts) FROM rota_gap g WHERE g.check_id = c.check_id), c.fault
FROM rota_gap_check c ORDER BY c.check_id DESC LIMIT 1

-- name: switch
-- The paging switch.
SELECT paging, at, who, reason FROM paging_switch ORDER BY switch_id DESC LIMIT 1

-- name: operations
-- What our own operations must know at once; jobs of upkeep that fail have days, and wake nobody.
SELECT alarm_id, opened_at, detail FROM operations_alarm
WHERE ended_at IS NULL AND released_at IS NULL AND kind <> 'upkeep'

-- name: synthetic
-- Invented pages: since when they are in use, and when one last came through.
SELECT min(started_at), max(answered_at) FROM synthetic_run

-- name: phones
-- Active people with a phone.
SELECT key, name, phone, roles FROM person WHERE active AND phone IS NOT NULL ORDER BY person_id

-- name: confirmed
-- People who confirmed a call to the number they have now.
SELECT DISTINCT p.key FROM test_call c JOIN person p USING (person_id)
WHERE c.outcome = 'confirmed' AND c.address = p.phone AND c.ended_at > %(since)s

-- name: tests_in_use
-- Whether test calls are made at all, and since when.
SELECT min(requested_at) FROM test_call WHERE requested_by = 'weekly'

-- name: keep
-- A line of the auditor's journal, once however often it is sent.
INSERT INTO auditor_entry (entry_id, auditor, at, kind, text, detail)
VALUES (%(id)s, %(auditor)s, %(at)s, %(kind)s, %(text)s, %(detail)s)
ON CONFLICT DO NOTHING
