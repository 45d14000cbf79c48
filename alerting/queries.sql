-- name: changed_alerts
-- Alerts that changed since a database time, for rooms that follow them.
SELECT tenant_id, alert_id, deployment_id, host_id, rule_id, instance, problem_key, state, priority, since,
       fired_at, resolved_at, value, summary, labels, coalesce(hidden, silenced), last_seq, changed_at
  FROM alert WHERE changed_at >= %(since)s
 ORDER BY changed_at LIMIT %(limit)s;

-- name: lock_alert
-- One alert, claimed by the caller's transaction; nothing when another one holds it.
SELECT tenant_id, alert_id, deployment_id, host_id, rule_id, instance, problem_key, state, priority, since,
       fired_at, resolved_at, value, summary, labels, coalesce(hidden, silenced), last_seq, changed_at
  FROM alert WHERE tenant_id = %(tenant_id)s AND alert_id = %(alert_id)s
   FOR NO KEY UPDATE SKIP LOCKED;

-- name: alert_of
-- One alert as it stands.
SELECT tenant_id, alert_id, deployment_id, host_id, rule_id, instance, problem_key, state, priority, since,
       fired_at, resolved_at, value, summary, labels, coalesce(hidden, silenced), last_seq, changed_at
  FROM alert WHERE tenant_id = %(tenant_id)s AND alert_id = %(alert_id)s;

-- name: transitions_after
-- An alert's transitions past a number, in order.
SELECT tenant_id, alert_id, seq, at, recorded_at, from_state, to_state, priority, value, muted, reason
  FROM alert_transition
 WHERE tenant_id = %(tenant_id)s AND alert_id = %(alert_id)s AND seq > %(seq)s
 ORDER BY seq;

-- name: ensure_hosts
-- Rows for hosts that have none yet; before any lock, in sorted order, so that two transactions cannot cross.
INSERT INTO host_state (tenant_id, host_id)
SELECT k.tenant_id, k.host_id
  FROM unnest(%(tenants)s::int[], %(hosts)s::bigint[]) AS k (tenant_id, host_id)
 WHERE NOT EXISTS (SELECT FROM host_state h WHERE h.tenant_id = k.tenant_id AND h.host_id = k.host_id)
 ORDER BY 1, 2
    ON CONFLICT DO NOTHING;

-- name: lock_hosts
-- Locks hosts in (tenant, host) order and reads them, with the newest version of the rules.
SELECT h.tenant_id, h.host_id, h.version, h.frontier, h.last_seen, h.state,
       greatest((SELECT max(version) FROM rule_pack WHERE mode = 'active'), 0)
  FROM unnest(%(tenants)s::int[], %(hosts)s::bigint[]) AS k (tenant_id, host_id)
  JOIN host_state h ON h.tenant_id = k.tenant_id AND h.host_id = k.host_id
 ORDER BY h.tenant_id, h.host_id
   FOR UPDATE OF h;

-- name: save_hosts
-- One statement for all hosts of a commit; touches no row whose version moved.
UPDATE host_state h
   SET version = h.version + 1, frontier = s.frontier, rule_pack_version = s.pack, last_seen = s.seen,
       due_at = s.due, state = s.state
  FROM unnest(%(tenants)s::int[], %(hosts)s::bigint[], %(versions)s::bigint[], %(frontiers)s::timestamptz[],
              %(packs)s::int[], %(seen)s::timestamptz[], %(dues)s::timestamptz[], %(states)s::bytea[])
       AS s (tenant_id, host_id, version, frontier, pack, seen, due, state)
 WHERE h.tenant_id = s.tenant_id AND h.host_id = s.host_id AND h.version = s.version;

-- name: record_transition
-- Moves the open alert of a rule and instance (or opens one) and appends the numbered transition.
WITH moved AS (
    UPDATE alert
       SET state = %(to_state)s, priority = %(priority)s, since = %(since)s, fired_at = %(fired_at)s,
           resolved_at = %(resolved_at)s, value = coalesce(%(value)s::float8, value),
           summary = coalesce(%(summary)s, summary), labels = coalesce(%(labels)s::jsonb, labels),
           hidden = %(hidden)s, silenced = %(silenced)s,
           last_seq = last_seq + 1, changed_at = now()
     WHERE tenant_id = %(tenant_id)s AND coalesce(host_id, 0) = coalesce(%(host_id)s::bigint, 0)
       AND deployment_id = %(deployment_id)s AND rule_id = %(rule_id)s AND instance = %(instance)s
       AND state NOT IN ('resolved', 'stale')
 RETURNING alert_id, last_seq
), opened AS (
    INSERT INTO alert (tenant_id, deployment_id, host_id, rule_id, instance, problem_key, state, priority,
                       since, fired_at, resolved_at, value, summary, labels, hidden, silenced, last_seq,
                       changed_at)
    SELECT %(tenant_id)s, %(deployment_id)s, %(host_id)s::bigint, %(rule_id)s, %(instance)s, %(problem_key)s,
           %(to_state)s, %(priority)s, %(since)s, %(fired_at)s, %(resolved_at)s, %(value)s::float8,
           coalesce(%(summary)s, %(rule_id)s), coalesce(%(labels)s::jsonb, '{}'),
           %(hidden)s, %(silenced)s, 1, now()
     WHERE NOT EXISTS (SELECT FROM moved)
 RETURNING alert_id, last_seq
)
INSERT INTO alert_transition (tenant_id, alert_id, seq, at, recorded_at, from_state, to_state, priority,
                              value, muted, reason)
SELECT %(tenant_id)s, alert_id, last_seq, %(at)s, %(now)s, %(from_state)s, %(to_state)s, %(priority)s,
       %(value)s::float8, coalesce(%(hidden)s::text, %(silenced)s), %(reason)s
  FROM (SELECT * FROM moved UNION ALL SELECT * FROM opened) AS changed;

-- name: note_failing
-- A rule that raised: kept beside its version, with the newest error and how often.
INSERT INTO rule_failure (version, rule_id, error, first_at, last_at)
VALUES (%(version)s, %(rule_id)s, %(error)s, %(now)s, %(now)s)
    ON CONFLICT (version, rule_id)
    DO UPDATE SET error = excluded.error, last_at = excluded.last_at, times = rule_failure.times + 1;

-- name: active_pack
-- The rules in force.
SELECT version, document FROM rule_pack WHERE mode = 'active' ORDER BY version DESC LIMIT 1;

-- name: lock_packs
-- One writer of rules at a time; readers are not held up.
LOCK TABLE rule_pack IN SHARE ROW EXCLUSIVE MODE;

-- name: store_pack
-- A new version of the rules, in force from the commit on.
INSERT INTO rule_pack (name, document, digest, loaded_at, loaded_by)
VALUES (%(name)s, %(document)s, %(digest)s, now(), %(by)s)
RETURNING version, document;
