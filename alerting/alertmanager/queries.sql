-- name: scope_of_deployment
-- Names of a deployment.
SELECT t.tenant_id, t.key, d.deployment_id, d.key
  FROM deployment d JOIN tenant t ON t.tenant_id = d.tenant_id
 WHERE d.tenant_id = %(tenant_id)s AND d.deployment_id = %(deployment_id)s;

-- name: standing
-- Open pushed alerts of a deployment.
SELECT a.alert_id, a.rule_id, a.instance, a.priority, a.since, a.fired_at, p.expires_at
  FROM pushed_alert p
  JOIN alert a ON a.tenant_id = p.tenant_id AND a.alert_id = p.alert_id
 WHERE p.tenant_id = %(tenant_id)s AND p.deployment_id = %(deployment_id)s AND p.expires_at IS NOT NULL
   AND a.state NOT IN ('resolved', 'stale')
 ORDER BY a.alert_id;

-- name: note_pushed
-- What came with a push, beside the open alert that it made.
INSERT INTO pushed_alert (tenant_id, alert_id, deployment_id, fingerprint, annotations, generator_url, pushed_by,
                          updated_at, expires_at)
SELECT a.tenant_id, a.alert_id, a.deployment_id, %(fingerprint)s, %(annotations)s, %(generator_url)s, %(by)s,
       %(now)s, %(expires_at)s
  FROM alert a
 WHERE a.tenant_id = %(tenant_id)s AND a.deployment_id = %(deployment_id)s AND a.host_id IS NULL
   AND a.rule_id = %(rule_id)s AND a.instance = %(instance)s AND a.state NOT IN ('resolved', 'stale')
RETURNING alert_id;

-- name: refresh_pushed
-- It was pushed again: it holds for longer; its alert does not change.
UPDATE pushed_alert
   SET annotations = %(annotations)s, generator_url = %(generator_url)s, pushed_by = %(by)s,
       updated_at = %(now)s, expires_at = greatest(expires_at, %(expires_at)s)
 WHERE tenant_id = %(tenant_id)s AND alert_id = %(alert_id)s;

-- name: end_pushed
-- Its alert is over.
UPDATE pushed_alert SET expires_at = NULL WHERE tenant_id = %(tenant_id)s AND alert_id = %(alert_id)s;

-- name: lapsing
-- Deployments with pushed alerts whose time is up.
SELECT DISTINCT tenant_id, deployment_id FROM pushed_alert WHERE expires_at <= %(now)s ORDER BY 1, 2;

-- name: open_alerts
-- Alerts that fire, with what came with a push; the caller's only, newest first.
SELECT a.tenant_id, a.alert_id, a.host_id, a.rule_id, a.priority, a.since, a.summary, a.labels, a.hidden, a.silenced,
       a.changed_at, p.annotations, p.generator_url, p.updated_at, p.expires_at
  FROM alert a
  LEFT JOIN pushed_alert p ON p.tenant_id = a.tenant_id AND p.alert_id = a.alert_id
 WHERE a.state IN ('firing', 'recovering')
   AND (%(tenant_id)s::int IS NULL OR a.tenant_id = %(tenant_id)s)
   AND (%(deployment_id)s::int IS NULL OR a.deployment_id = %(deployment_id)s)
 ORDER BY a.alert_id DESC LIMIT %(limit)s;

-- name: silences
-- Silences that are in force or were until lately; by id, any kind.
SELECT t.key, m.tenant_id, m.cancelled_at, m.created_at, m.updated_at,
       m.mute_id, m.kind, m.matchers, m.title, m.author, m.starts_at, m.ends_at, m.recurrence, m.zone
  FROM mute m
  JOIN tenant t ON t.tenant_id = m.tenant_id
 WHERE (%(tenant_id)s::int IS NULL OR m.tenant_id = %(tenant_id)s)
   AND (m.mute_id = %(mute_id)s::uuid
        OR (%(mute_id)s::uuid IS NULL AND m.kind = 'silence'
            AND coalesce(m.cancelled_at, 'infinity') > %(since)s
            AND (m.recurrence <> '' OR m.ends_at > %(since)s)))
 ORDER BY m.ends_at, m.mute_id LIMIT %(limit)s;

-- name: change_silence
-- A silence's end, reason and author; its own id stays.
UPDATE mute SET starts_at = %(starts_at)s, ends_at = %(ends_at)s, title = %(title)s, author = %(author)s,
                made_by = %(by)s, updated_at = %(now)s
 WHERE tenant_id = %(tenant_id)s AND mute_id = %(mute_id)s AND kind = 'silence' AND cancelled_at IS NULL;

-- name: note_maker
-- Whose key made a silence.
UPDATE mute SET made_by = %(by)s WHERE tenant_id = %(tenant_id)s AND mute_id = %(mute_id)s;
