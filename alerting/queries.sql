-- name: changed_alerts
-- Alerts that changed since a database time, for rooms that follow them.
SELECT tenant_id, alert_id, deployment_id, host_id, rule_id, instance, problem_key, state, priority, since,
       fired_at, resolved_at, value, summary, labels, last_seq, changed_at
  FROM alert WHERE changed_at >= %(since)s
 ORDER BY changed_at LIMIT %(limit)s;

-- name: lock_alert
-- One alert, claimed by the caller's transaction; nothing when another one holds it.
SELECT tenant_id, alert_id, deployment_id, host_id, rule_id, instance, problem_key, state, priority, since,
       fired_at, resolved_at, value, summary, labels, last_seq, changed_at
  FROM alert WHERE tenant_id = %(tenant_id)s AND alert_id = %(alert_id)s
   FOR NO KEY UPDATE SKIP LOCKED;

-- name: alert_of
-- One alert as it stands.
SELECT tenant_id, alert_id, deployment_id, host_id, rule_id, instance, problem_key, state, priority, since,
       fired_at, resolved_at, value, summary, labels, last_seq, changed_at
  FROM alert WHERE tenant_id = %(tenant_id)s AND alert_id = %(alert_id)s;

-- name: transitions_after
-- An alert's transitions past a number, in order.
SELECT tenant_id, alert_id, seq, at, recorded_at, from_state, to_state, priority, value, reason
  FROM alert_transition
 WHERE tenant_id = %(tenant_id)s AND alert_id = %(alert_id)s AND seq > %(seq)s
 ORDER BY seq;
