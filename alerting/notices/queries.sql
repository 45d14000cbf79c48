-- name: one_planner
-- One process plans at a time; to the end of the transaction.
SELECT pg_advisory_xact_lock(hashtext('ucx-notices'));

-- name: newest_notice
-- When a receiver was last told anything.
SELECT max(created_at) FROM notice WHERE receiver = %(receiver)s;

-- name: candidates
-- Alerts that fire and bother somebody, or ended after they were told, with when their problem was told.
SELECT a.tenant_id, a.alert_id, t.key, d.key, a.problem_key, a.state, a.priority, a.since, a.summary,
       a.rule_id, (SELECT array_agg(w.at ORDER BY w.at) FROM notice_told w
         WHERE w.receiver = %(receiver)s AND w.problem_key = a.problem_key AND NOT w.ended
           AND w.at > %(window)s) AS told,
       EXISTS (SELECT FROM alert_note n
                WHERE n.tenant_id = a.tenant_id AND n.alert_id = a.alert_id AND n.kind = 'acknowledged')
  FROM alert a
  JOIN tenant t ON t.tenant_id = a.tenant_id
  JOIN deployment d ON d.tenant_id = a.tenant_id AND d.deployment_id = a.deployment_id
 WHERE (%(tenant)s = '' OR t.key = %(tenant)s)
   AND ((a.state = 'firing' AND a.priority = ANY (%(priorities)s::int[])
         AND a.hidden IS NULL AND a.silenced IS NULL)
        OR (a.state IN ('resolved', 'stale')
            AND EXISTS (SELECT FROM notice_told w WHERE w.receiver = %(receiver)s
                           AND w.tenant_id = a.tenant_id AND w.alert_id = a.alert_id)
            AND NOT EXISTS (SELECT FROM notice_told w WHERE w.receiver = %(receiver)s AND w.ended
                               AND w.tenant_id = a.tenant_id AND w.alert_id = a.alert_id)))
 ORDER BY a.priority, a.alert_id;

-- name: add_notice
-- A message to be sent.
INSERT INTO notice (notice_id, receiver, document, created_at, next_at)
VALUES (%(notice_id)s, %(receiver)s, %(document)s, %(now)s, now());

-- name: add_told
-- These alerts are told by it.
INSERT INTO notice_told (receiver, tenant_id, alert_id, at, ended, problem_key)
SELECT %(receiver)s, k.tenant_id, k.alert_id, %(now)s, k.ended, k.problem_key
  FROM unnest(%(tenants)s::int[], %(alerts)s::bigint[], %(ended)s::bool[], %(problems)s::text[])
       AS k (tenant_id, alert_id, ended, problem_key);

-- name: claim_notice
-- The message longest due, leased by database time; its number of attempts is the fencing token.
UPDATE notice SET attempts = attempts + 1, next_at = now() + make_interval(secs => %(lease_s)s)
 WHERE notice_id = (SELECT notice_id FROM notice WHERE done_at IS NULL AND next_at <= now()
                     ORDER BY next_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING notice_id, receiver, document, attempts;

-- name: end_notice
-- Sent, or given up; nothing if another attempt began meanwhile.
UPDATE notice SET done_at = %(now)s, failure = %(failure)s
 WHERE notice_id = %(notice_id)s AND attempts = %(attempts)s AND done_at IS NULL;

-- name: retry_notice
-- Not sent: again after a pause.
UPDATE notice SET failure = %(failure)s, next_at = now() + make_interval(secs => %(pause_s)s)
 WHERE notice_id = %(notice_id)s AND attempts = %(attempts)s AND done_at IS NULL;
