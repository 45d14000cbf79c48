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

-- name: alerts_many
-- Alerts as they stand, by their keys.
SELECT a.tenant_id, a.alert_id, a.deployment_id, a.host_id, a.rule_id, a.instance, a.problem_key, a.state,
       a.priority, a.since, a.fired_at, a.resolved_at, a.value, a.summary, a.labels,
       coalesce(a.hidden, a.silenced), a.last_seq, a.changed_at
  FROM unnest(%(tenants)s::int[], %(alerts)s::bigint[]) AS k (tenant_id, alert_id)
  JOIN alert a USING (tenant_id, alert_id);

-- name: transitions_many
-- Transitions of many alerts, each past a number, in order.
SELECT t.tenant_id, t.alert_id, t.seq, t.at, t.recorded_at, t.from_state, t.to_state, t.priority, t.value,
       t.muted, t.reason
  FROM unnest(%(tenants)s::int[], %(alerts)s::bigint[], %(seqs)s::int[]) AS k (tenant_id, alert_id, seq)
  JOIN alert_transition t ON t.tenant_id = k.tenant_id AND t.alert_id = k.alert_id AND t.seq > k.seq
 ORDER BY t.tenant_id, t.alert_id, t.seq;

-- name: ensure_hosts
-- Rows for hosts that have none yet; before any lock, in sorted order, so that two transactions cannot cross.
INSERT INTO host_state (tenant_id, host_id)
SELECT k.tenant_id, k.host_id
  FROM unnest(%(tenants)s::int[], %(hosts)s::bigint[]) AS k (tenant_id, host_id)
 WHERE NOT EXISTS (SELECT FROM host_state h WHERE h.tenant_id = k.tenant_id AND h.host_id = k.host_id)
 ORDER BY 1, 2
    ON CONFLICT DO NOTHING;

-- name: lock_hosts
-- Locks hosts in (tenant, host) order and reads them, with the newest version of the rules: the row's own is
-- read after waiting for its lock, the other one as of the statement's beginning.
SELECT h.tenant_id, h.host_id, h.version, h.frontier, h.last_seen, h.state,
       greatest(h.rule_pack_version, (SELECT max(version) FROM rule_change))
  FROM unnest(%(tenants)s::int[], %(hosts)s::bigint[]) AS k (tenant_id, host_id)
  JOIN host_state h ON h.tenant_id = k.tenant_id AND h.host_id = k.host_id
 ORDER BY h.tenant_id, h.host_id
   FOR UPDATE OF h;

-- name: held_hosts
-- Those of some hosts that others have locked; holds none itself beyond the statement.
WITH free AS (
    SELECT h.tenant_id, h.host_id
      FROM unnest(%(tenants)s::int[], %(hosts)s::bigint[]) AS k (tenant_id, host_id)
      JOIN host_state h ON h.tenant_id = k.tenant_id AND h.host_id = k.host_id
       FOR UPDATE OF h SKIP LOCKED)
SELECT h.tenant_id, h.host_id
  FROM unnest(%(tenants)s::int[], %(hosts)s::bigint[]) AS k (tenant_id, host_id)
  JOIN host_state h ON h.tenant_id = k.tenant_id AND h.host_id = k.host_id
 WHERE NOT EXISTS (SELECT FROM free f WHERE f.tenant_id = h.tenant_id AND f.host_id = h.host_id);

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
           unit = CASE WHEN %(value)s::float8 IS NULL THEN unit ELSE %(unit)s END,
           summary = coalesce(%(summary)s, summary),
           pack_version = CASE WHEN %(summary)s::text IS NULL THEN pack_version
                               ELSE (SELECT max(version) FROM rule_pack WHERE mode = 'active') END,
           labels = coalesce(%(labels)s::jsonb, labels),
           hidden = %(hidden)s, silenced = %(silenced)s,
           last_seq = last_seq + 1, changed_at = now()
     WHERE tenant_id = %(tenant_id)s AND coalesce(host_id, 0) = coalesce(%(host_id)s::bigint, 0)
       AND deployment_id = %(deployment_id)s AND rule_id = %(rule_id)s AND instance = %(instance)s
       AND state NOT IN ('resolved', 'stale')
 RETURNING alert_id, last_seq
), opened AS (
    INSERT INTO alert (tenant_id, deployment_id, host_id, rule_id, instance, problem_key, state, priority,
                       since, fired_at, resolved_at, value, unit, summary, pack_version, labels, hidden, silenced,
                       last_seq, changed_at)
    SELECT %(tenant_id)s, %(deployment_id)s, %(host_id)s::bigint, %(rule_id)s, %(instance)s, %(problem_key)s,
           %(to_state)s, %(priority)s, %(since)s, %(fired_at)s, %(resolved_at)s, %(value)s::float8,
           %(unit)s, coalesce(%(summary)s, %(rule_id)s),
           (SELECT max(version) FROM rule_pack WHERE mode = 'active'), coalesce(%(labels)s::jsonb, '{}'),
           %(hidden)s, %(silenced)s, 1, now()
     WHERE NOT EXISTS (SELECT FROM moved)
 RETURNING alert_id, last_seq
)
INSERT INTO alert_transition (tenant_id, alert_id, seq, at, recorded_at, from_state, to_state, priority,
                              value, muted, reason)
SELECT %(tenant_id)s, alert_id, last_seq, %(at)s, %(now)s, %(from_state)s, %(to_state)s, %(priority)s,
       %(value)s::float8, coalesce(%(hidden)s::text, %(silenced)s), %(reason)s
  FROM (SELECT * FROM moved UNION ALL SELECT * FROM opened) AS changed;

-- name: record_transitions
-- The same for many alerts, each at most once: one plan for all, made when the rows are there.
WITH given AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(rows)s::jsonb) AS g (
           n integer, tenant_id integer, deployment_id integer, host_id bigint, rule_id text, instance text,
           problem_key text, from_state text, to_state text, priority smallint, since timestamptz,
           fired_at timestamptz, resolved_at timestamptz, value float8, unit text, summary text, labels jsonb,
           hidden text, silenced text, at timestamptz, reason text)
), pack AS MATERIALIZED (
    SELECT max(version) AS version FROM rule_pack WHERE mode = 'active'
), moved AS (
    UPDATE alert a
       SET state = g.to_state, priority = g.priority, since = g.since, fired_at = g.fired_at,
           resolved_at = g.resolved_at, value = coalesce(g.value, a.value),
           unit = CASE WHEN g.value IS NULL THEN a.unit ELSE g.unit END, summary = coalesce(g.summary, a.summary),
           pack_version = CASE WHEN g.summary IS NULL THEN a.pack_version ELSE (SELECT version FROM pack) END,
           labels = coalesce(g.labels, a.labels),
           hidden = g.hidden, silenced = g.silenced, last_seq = a.last_seq + 1, changed_at = now()
      FROM given g
     WHERE a.tenant_id = g.tenant_id AND coalesce(a.host_id, 0) = coalesce(g.host_id, 0)
       AND a.deployment_id = g.deployment_id AND a.rule_id = g.rule_id AND a.instance = g.instance
       AND a.state NOT IN ('resolved', 'stale')
 RETURNING g.n, a.alert_id, a.last_seq
), opened AS (
    INSERT INTO alert (tenant_id, deployment_id, host_id, rule_id, instance, problem_key, state, priority,
                       since, fired_at, resolved_at, value, unit, summary, pack_version, labels, hidden, silenced,
                       last_seq, changed_at)
    SELECT g.tenant_id, g.deployment_id, g.host_id, g.rule_id, g.instance, g.problem_key, g.to_state, g.priority,
           g.since, g.fired_at, g.resolved_at, g.value, g.unit, coalesce(g.summary, g.rule_id),
           (SELECT version FROM pack), coalesce(g.labels, '{}'), g.hidden, g.silenced, 1, now()
      FROM given g
     WHERE NOT EXISTS (SELECT FROM moved m WHERE m.n = g.n)
     ORDER BY g.n
 RETURNING alert_id, last_seq, tenant_id, deployment_id, host_id, rule_id, instance
), changed AS (
    SELECT n, alert_id, last_seq FROM moved
    UNION ALL
    SELECT g.n, o.alert_id, o.last_seq
      FROM opened o
      JOIN given g ON g.tenant_id = o.tenant_id AND g.deployment_id = o.deployment_id
                  AND coalesce(g.host_id, 0) = coalesce(o.host_id, 0) AND g.rule_id = o.rule_id
                  AND g.instance = o.instance
)
INSERT INTO alert_transition (tenant_id, alert_id, seq, at, recorded_at, from_state, to_state, priority,
                              value, muted, reason)
SELECT g.tenant_id, c.alert_id, c.last_seq, g.at, %(now)s, g.from_state, g.to_state, g.priority, g.value,
       coalesce(g.hidden, g.silenced), g.reason
  FROM changed c JOIN given g USING (n);

-- name: note_failing
-- A rule that raised: kept beside its version, with the newest error and how often.
INSERT INTO rule_failure (version, rule_id, error, first_at, last_at)
VALUES (%(version)s, %(rule_id)s, %(error)s, now(), now())
    ON CONFLICT (version, rule_id)
    DO UPDATE SET error = excluded.error, last_at = excluded.last_at, times = rule_failure.times + 1;

-- name: forget_failing
-- What could not be read is read now: after an update its last process takes back what the older ones noted.
DELETE FROM rule_failure WHERE version = %(version)s AND rule_id = %(rule_id)s;

-- name: newest_version
-- Version of the rules, overrides included; it grows with every change, removals too.
SELECT coalesce(max(version), 0) FROM rule_change;

-- name: active_packs
-- The pack in force, and those before it in case it cannot be read.
SELECT version, document FROM rule_pack WHERE mode = 'active' ORDER BY version DESC LIMIT 5;

-- name: pack_digests
-- All packs ever stored, the newest first: which is in force, and which came from a release itself.
SELECT version, mode, digest, loaded_by FROM rule_pack ORDER BY version DESC;

-- name: overrides
-- All overrides in force.
SELECT override_id, tenant_id, deployment_id, host_id, rule_id, document
  FROM rule_override WHERE removed_at IS NULL ORDER BY tenant_id, override_id;

-- name: store_override
-- An override, in force from the commit on.
WITH changed AS (INSERT INTO rule_change (at) VALUES (now()) RETURNING version)
INSERT INTO rule_override (tenant_id, deployment_id, host_id, rule_id, document, author, created_at)
SELECT %(tenant_id)s, %(deployment_id)s::int, %(host_id)s::bigint, %(rule_id)s, %(document)s, %(author)s, now()
  FROM changed;

-- name: remove_override
-- Takes an override out of force.
WITH removed AS (
    UPDATE rule_override SET removed_at = now()
     WHERE tenant_id = %(tenant_id)s AND deployment_id IS NOT DISTINCT FROM %(deployment_id)s::int
       AND host_id IS NOT DISTINCT FROM %(host_id)s::bigint AND rule_id = %(rule_id)s AND removed_at IS NULL
 RETURNING 1
)
INSERT INTO rule_change (at) SELECT now() FROM removed;

-- name: lock_rules
-- One writer of rules at a time; readers are not held up.
LOCK TABLE rule_change IN SHARE ROW EXCLUSIVE MODE;

-- name: store_pack
-- A new version of the rules, in force from the commit on.
WITH changed AS (INSERT INTO rule_change (at) VALUES (now()) RETURNING version)
INSERT INTO rule_pack (version, name, document, digest, loaded_at, loaded_by)
SELECT version, %(name)s, %(document)s, %(digest)s, now(), %(by)s FROM changed
RETURNING version;

-- name: prove_open
-- Our front door is open now; since when without a break comes back.
INSERT INTO front_door (open_since, proven_at) VALUES (%(now)s, %(now)s)
    ON CONFLICT (one) DO UPDATE
   SET open_since = CASE WHEN front_door.proven_at < %(broken_before)s THEN excluded.open_since
                         ELSE front_door.open_since END,
       proven_at = greatest(front_door.proven_at, excluded.proven_at)
RETURNING open_since;

-- name: door_proven
-- When our front door was last proven open.
SELECT proven_at FROM front_door;

-- name: quiet_hosts
-- Hosts without a receipt since a time, with their state as of now (unlocked: a reason to look, no more).
SELECT s.tenant_id, t.key, d.deployment_id, d.key, s.host_id, h.name, s.last_seen, s.state
  FROM host_state s
  JOIN host h ON h.tenant_id = s.tenant_id AND h.host_id = s.host_id AND h.retired_at IS NULL
  JOIN deployment d ON d.tenant_id = h.tenant_id AND d.deployment_id = h.deployment_id
  JOIN tenant t ON t.tenant_id = s.tenant_id
 WHERE s.last_seen < %(before)s
 ORDER BY s.tenant_id, d.deployment_id, s.host_id;

-- name: fleet
-- How many hosts report at all, and how many fell silent within a window, in how many deployments. What was told
-- as silent before our door last opened did not fall silent by that.
SELECT count(*),
       count(*) FILTER (WHERE q.fell),
       count(DISTINCT q.deployment_id) FILTER (WHERE q.fell)
  FROM (SELECT h.deployment_id,
               greatest(s.last_seen, %(open_since)s) >= %(from)s
               AND greatest(s.last_seen, %(open_since)s) < %(until)s
               AND NOT (s.last_seen < %(open_since)s AND EXISTS (
                   SELECT FROM alert a
                    WHERE a.tenant_id = s.tenant_id AND coalesce(a.host_id, 0) = s.host_id
                      AND a.deployment_id = h.deployment_id AND a.rule_id = ANY (%(rules)s)
                      AND a.state NOT IN ('resolved', 'stale') AND a.fired_at < %(open_since)s)) AS fell
          FROM host_state s
          JOIN host h ON h.tenant_id = s.tenant_id AND h.host_id = s.host_id AND h.retired_at IS NULL
         WHERE s.last_seen >= %(reporting_since)s) AS q;

-- name: nodes
-- The hosts of a deployment that ever reported and are in service.
SELECT s.host_id
  FROM host_state s
  JOIN host h ON h.tenant_id = s.tenant_id AND h.host_id = s.host_id AND h.retired_at IS NULL
 WHERE h.tenant_id = %(tenant_id)s AND h.deployment_id = %(deployment_id)s AND s.last_seen IS NOT NULL
 ORDER BY s.host_id;

-- name: scope_of_host
-- Names of one host, for evaluation.
SELECT t.tenant_id, t.key, d.deployment_id, d.key, h.host_id, h.name
  FROM host h
  JOIN deployment d ON d.tenant_id = h.tenant_id AND d.deployment_id = h.deployment_id
  JOIN tenant t ON t.tenant_id = h.tenant_id
 WHERE h.tenant_id = %(tenant_id)s AND h.host_id = %(host_id)s;

-- name: state_of_host
-- What a host's evaluation remembers, unlocked: a reason to look, no more.
SELECT state FROM host_state WHERE tenant_id = %(tenant_id)s AND host_id = %(host_id)s;

-- name: due_hosts
-- Hosts that must be looked at although nothing arrives, longest due first, from a position on.
SELECT tenant_id, host_id, due_at FROM host_state
 WHERE due_at <= %(now)s AND due_at >= %(due)s AND (due_at, tenant_id, host_id) > (%(due)s, %(tenant)s, %(host)s)
 ORDER BY due_at, tenant_id, host_id LIMIT %(limit)s;

-- name: deployment_alerts
-- Open alerts about the silence of whole deployments; those that others push, or that are concluded from other
-- alerts, are judged elsewhere.
SELECT a.tenant_id, t.key, a.deployment_id, d.key, a.rule_id, a.state, a.priority, a.since, a.fired_at
  FROM alert a
  JOIN deployment d ON d.tenant_id = a.tenant_id AND d.deployment_id = a.deployment_id
  JOIN tenant t ON t.tenant_id = a.tenant_id
 WHERE a.host_id IS NULL AND a.state NOT IN ('resolved', 'stale') AND NOT starts_with(a.rule_id, 'pushed.')
   AND NOT EXISTS (SELECT FROM deployment_state s WHERE s.tenant_id = a.tenant_id
                      AND s.deployment_id = a.deployment_id AND a.rule_id = ANY (s.own_alerts))
 ORDER BY a.tenant_id, a.deployment_id;

-- name: compound_due
-- Deployments with an open alert under one of these rules, or with something remembered of rules on alerts.
SELECT q.tenant_id, t.key, q.deployment_id, d.key
  FROM (SELECT a.tenant_id, a.deployment_id FROM alert a
         WHERE a.state NOT IN ('resolved', 'stale') AND a.rule_id = ANY (%(rules)s)
         UNION SELECT s.tenant_id, s.deployment_id FROM deployment_state s) AS q
  JOIN deployment d ON d.tenant_id = q.tenant_id AND d.deployment_id = q.deployment_id
  JOIN tenant t ON t.tenant_id = q.tenant_id
 ORDER BY q.tenant_id, q.deployment_id;

-- name: nodes_named
-- The hosts of a deployment that ever reported and are in service, with their names.
SELECT s.host_id, h.name
  FROM host_state s
  JOIN host h ON h.tenant_id = s.tenant_id AND h.host_id = s.host_id AND h.retired_at IS NULL
 WHERE h.tenant_id = %(tenant_id)s AND h.deployment_id = %(deployment_id)s AND s.last_seen IS NOT NULL
 ORDER BY s.host_id;

-- name: lock_deployment_state
-- What rules on alerts remember of a deployment; after its hosts' locks.
SELECT state FROM deployment_state
 WHERE tenant_id = %(tenant_id)s AND deployment_id = %(deployment_id)s FOR UPDATE;

-- name: save_deployment_state
-- Remember, in place of what was.
INSERT INTO deployment_state (tenant_id, deployment_id, own_alerts, state)
VALUES (%(tenant_id)s, %(deployment_id)s, %(own_alerts)s::text[], %(state)s)
    ON CONFLICT (tenant_id, deployment_id)
    DO UPDATE SET own_alerts = excluded.own_alerts, state = excluded.state
 WHERE (deployment_state.own_alerts, deployment_state.state) <> (excluded.own_alerts, excluded.state);

-- name: forget_deployment_state
-- Nothing is left to remember.
DELETE FROM deployment_state WHERE tenant_id = %(tenant_id)s AND deployment_id = %(deployment_id)s;

-- name: open_alerts_under
-- A deployment's open alerts under these rules, and those of the deployment as a whole under any.
SELECT rule_id, coalesce(host_id, 0), state, priority, since, fired_at
  FROM alert
 WHERE tenant_id = %(tenant_id)s AND deployment_id = %(deployment_id)s AND state NOT IN ('resolved', 'stale')
   AND (host_id IS NULL OR rule_id = ANY (%(rules)s));

-- name: failing_since
-- Rules of the newest version that raised at or after a time.
SELECT rule_id FROM rule_failure
 WHERE version = (SELECT max(version) FROM rule_change) AND last_at >= %(since)s;

-- name: retired_hosts
-- Hosts out of service that still have open alerts.
SELECT DISTINCT a.tenant_id, a.host_id
  FROM alert a
  JOIN host h ON h.tenant_id = a.tenant_id AND h.host_id = a.host_id
 WHERE a.state NOT IN ('resolved', 'stale') AND h.retired_at IS NOT NULL
 ORDER BY 1, 2;

-- name: open_alerts_of_host
-- A host's open alerts as their rows say.
SELECT alert_id, state, priority
  FROM alert
 WHERE tenant_id = %(tenant_id)s AND host_id = %(host_id)s AND state NOT IN ('resolved', 'stale')
 ORDER BY alert_id;

-- name: end_alert
-- Ends one open alert, with its last transition.
WITH ended AS (
    UPDATE alert SET state = %(to_state)s, resolved_at = %(now)s, last_seq = last_seq + 1, changed_at = now()
     WHERE tenant_id = %(tenant_id)s AND alert_id = %(alert_id)s AND state NOT IN ('resolved', 'stale')
 RETURNING alert_id, last_seq, coalesce(hidden, silenced) AS muted
)
INSERT INTO alert_transition (tenant_id, alert_id, seq, at, recorded_at, from_state, to_state, priority,
                              muted, reason)
SELECT %(tenant_id)s, alert_id, last_seq, %(now)s, %(now)s, %(from_state)s, %(to_state)s, %(priority)s,
       muted, %(reason)s
  FROM ended;

-- name: forget_host_state
-- A retired host remembers nothing.
UPDATE host_state SET version = version + 1, state = NULL, due_at = NULL
 WHERE tenant_id = %(tenant_id)s AND host_id = %(host_id)s;

-- name: open_operations_alarms
-- What our own operations must know now.
SELECT alarm_id, kind, from_at, opened_at, detail, released_at, released_by
  FROM operations_alarm WHERE ended_at IS NULL ORDER BY alarm_id;

-- name: open_operations_alarm
-- Tell operations, once: nothing happens while one of the kind is open.
INSERT INTO operations_alarm (kind, from_at, opened_at, detail)
VALUES (%(kind)s, %(from_at)s, %(now)s, %(detail)s)
    ON CONFLICT DO NOTHING;

-- name: end_operations_alarm
-- It is over.
UPDATE operations_alarm SET ended_at = %(now)s WHERE kind = %(kind)s AND ended_at IS NULL;

-- name: release_operations_alarm
-- A person lets held alerts through; the first release counts.
UPDATE operations_alarm SET released_at = %(now)s, released_by = %(by)s
 WHERE alarm_id = %(alarm_id)s AND ended_at IS NULL AND released_at IS NULL
RETURNING alarm_id;

-- name: forget_never_fired
-- Alerts that never fired, after their keep.
WITH old AS (
    SELECT tenant_id, alert_id FROM alert
     WHERE fired_at IS NULL AND state IN ('resolved', 'stale') AND resolved_at < %(before)s
     LIMIT 1000
), steps AS (
    DELETE FROM alert_transition t USING old
     WHERE t.tenant_id = old.tenant_id AND t.alert_id = old.alert_id
)
DELETE FROM alert a USING old WHERE a.tenant_id = old.tenant_id AND a.alert_id = old.alert_id;

-- name: forget_ended
-- Alerts that ended long ago, with all that hangs on them; never an open one's.
WITH old AS (
    SELECT tenant_id, alert_id FROM alert
     WHERE state IN ('resolved', 'stale') AND resolved_at < %(before)s
     ORDER BY resolved_at LIMIT %(limit)s
       FOR UPDATE SKIP LOCKED
), steps AS (
    DELETE FROM alert_transition t USING old
     WHERE t.tenant_id = old.tenant_id AND t.alert_id = old.alert_id
)
DELETE FROM alert a USING old WHERE a.tenant_id = old.tenant_id AND a.alert_id = old.alert_id;

-- name: forget_notices
-- Notices that are done since long.
DELETE FROM notice WHERE notice_id IN (
    SELECT notice_id FROM notice WHERE done_at < %(before)s ORDER BY done_at LIMIT %(limit)s
       FOR UPDATE SKIP LOCKED);

-- name: ending_silences
-- Silences that end soon and of which nobody was reminded, for one process at a time.
SELECT m.tenant_id, t.key, m.remind, m.mute_id, m.kind, m.matchers, m.title, m.author, m.starts_at, m.ends_at,
       m.recurrence, m.zone
  FROM mute m JOIN tenant t ON t.tenant_id = m.tenant_id
 WHERE m.kind = 'silence' AND m.cancelled_at IS NULL AND m.reminded_at IS NULL AND m.starts_at <= %(now)s
   AND (m.recurrence <> '' OR (m.ends_at > %(now)s AND m.ends_at <= %(until)s))
 ORDER BY m.tenant_id, m.mute_id
   FOR UPDATE OF m SKIP LOCKED;

-- name: reminded
-- Its author has been reminded.
UPDATE mute SET reminded_at = %(now)s WHERE tenant_id = %(tenant_id)s AND mute_id = %(mute_id)s;

-- name: firing_labels
-- What fires in a tenant, by its labels.
SELECT labels || jsonb_build_object('priority', 'P' || priority) FROM alert
 WHERE tenant_id = %(tenant_id)s AND state = 'firing';

-- name: list_alerts
-- Alerts by filter, newest first; the caller binds tenant and deployment.
SELECT a.alert_id, t.key, d.key, a.host_id, h.name, a.rule_id, a.instance, a.problem_key, a.state, a.priority,
       a.since, a.fired_at, a.resolved_at, a.value, a.summary, a.labels, coalesce(a.hidden, a.silenced),
       a.last_seq, a.changed_at
  FROM alert a
  JOIN tenant t ON t.tenant_id = a.tenant_id
  JOIN deployment d ON d.tenant_id = a.tenant_id AND d.deployment_id = a.deployment_id
  LEFT JOIN host h ON h.tenant_id = a.tenant_id AND h.host_id = a.host_id
 WHERE (%(tenant_id)s::int IS NULL OR a.tenant_id = %(tenant_id)s)
   AND (%(deployment_id)s::int IS NULL OR a.deployment_id = %(deployment_id)s)
   AND (%(tenant)s::text IS NULL OR t.key = %(tenant)s)
   AND (%(deployment)s::text IS NULL OR d.key = %(deployment)s)
   AND (%(host_id)s::bigint IS NULL OR a.host_id = %(host_id)s)
   AND (%(rule)s::text IS NULL OR a.rule_id = %(rule)s)
   AND (%(states)s::text[] IS NULL OR a.state = ANY (%(states)s))
   AND (%(priorities)s::int[] IS NULL OR a.priority = ANY (%(priorities)s))
   AND (%(is_open)s::bool IS NULL OR (a.state NOT IN ('resolved', 'stale')) = %(is_open)s)
   AND (%(muted)s::bool IS NULL OR (coalesce(a.hidden, a.silenced) IS NOT NULL) = %(muted)s)
   AND (%(alert_ids)s::bigint[] IS NULL OR a.alert_id = ANY (%(alert_ids)s))
   AND (%(before)s::bigint IS NULL OR a.alert_id < %(before)s)
 ORDER BY a.alert_id DESC LIMIT %(limit)s;

-- name: told_of
-- Of these alerts, what their texts were made of, and of which rule pack.
SELECT a.alert_id, a.rule_id, a.instance, coalesce(h.name, '(cluster)'), d.key, a.value, coalesce(a.unit, ''),
       a.summary, a.pack_version, p.digest
  FROM alert a
  JOIN deployment d ON d.tenant_id = a.tenant_id AND d.deployment_id = a.deployment_id
  LEFT JOIN host h ON h.tenant_id = a.tenant_id AND h.host_id = a.host_id
  JOIN rule_pack p ON p.version = a.pack_version
 WHERE a.alert_id = ANY (%(alert_ids)s::bigint[]);

-- name: pack_document
-- A rule pack's text.
SELECT document FROM rule_pack WHERE version = %(version)s;

-- name: places_of_alerts
-- Whose alerts these are (views that the caller was allowed to see).
SELECT alert_id, tenant_id, deployment_id FROM alert WHERE alert_id = ANY (%(alert_ids)s::bigint[]);

-- name: tenant_of_alert
-- Whose alert it is.
SELECT tenant_id FROM alert WHERE alert_id = %(alert_id)s;

-- name: failing
-- Rules of the newest version that raised or could not be read.
SELECT version, rule_id, error, first_at, last_at, times
  FROM rule_failure WHERE version = (SELECT max(version) FROM rule_change) ORDER BY rule_id;

-- name: scope_by_name
-- A host in service by its names.
SELECT t.tenant_id, t.key, d.deployment_id, d.key, h.host_id, h.name
  FROM tenant t
  JOIN deployment d ON d.tenant_id = t.tenant_id AND d.key = %(deployment)s
  JOIN host h ON h.tenant_id = d.tenant_id AND h.deployment_id = d.deployment_id
             AND h.name = %(host)s AND h.retired_at IS NULL
 WHERE t.key = %(tenant)s;

-- name: scope_ids
-- Ids of a tenant, of its deployment and of that one's host, by their names; NULL where not found or not named.
SELECT t.tenant_id, d.deployment_id, h.host_id
  FROM tenant t
  LEFT JOIN deployment d ON d.tenant_id = t.tenant_id AND d.key = %(deployment)s::text
  LEFT JOIN host h ON h.tenant_id = d.tenant_id AND h.deployment_id = d.deployment_id
                  AND h.name = %(host)s::text AND h.retired_at IS NULL
 WHERE t.key = %(tenant)s;

-- name: overrides_of
-- A tenant's overrides, the widest first.
SELECT o.override_id, t.key, d.key, h.name, o.rule_id, o.document, o.author, o.created_at
  FROM rule_override o
  JOIN tenant t ON t.tenant_id = o.tenant_id
  LEFT JOIN deployment d ON d.tenant_id = o.tenant_id AND d.deployment_id = o.deployment_id
  LEFT JOIN host h ON h.tenant_id = o.tenant_id AND h.host_id = o.host_id
 WHERE t.key = %(tenant)s AND o.removed_at IS NULL
 ORDER BY o.rule_id, o.deployment_id NULLS FIRST, o.host_id NULLS FIRST;

-- name: current_mutes
-- Mutes of tenants that may cover a time now or later.
SELECT tenant_id, mute_id, kind, matchers, title, author, starts_at, ends_at, recurrence, zone
  FROM mute
 WHERE tenant_id = ANY (%(tenants)s::int[]) AND cancelled_at IS NULL AND starts_at <= %(now)s
   AND (recurrence <> '' OR ends_at > %(now)s)
 ORDER BY tenant_id, mute_id;

-- name: store_mute
-- A silence or a maintenance window.
INSERT INTO mute (tenant_id, mute_id, kind, matchers, title, author, starts_at, ends_at, recurrence, zone, created_at,
                  remind)
VALUES (%(tenant_id)s, %(mute_id)s, %(kind)s, %(matchers)s, %(title)s, %(author)s, %(starts_at)s, %(ends_at)s,
        %(recurrence)s, %(zone)s, now(), %(remind)s);

-- name: lock_calendar
-- One import of a calendar at a time, to the end of the transaction.
SELECT pg_advisory_xact_lock(hashtextextended(%(source)s, %(tenant_id)s));

-- name: calendar_mutes
-- What is in force of a calendar.
SELECT mute_id, matchers, title, starts_at, ends_at, recurrence, zone
  FROM mute WHERE tenant_id = %(tenant_id)s AND source = %(source)s AND cancelled_at IS NULL;

-- name: import_mute
-- A calendar's window: new, as it is now, or in force again.
INSERT INTO mute AS m (tenant_id, mute_id, kind, matchers, title, author, starts_at, ends_at, recurrence, zone,
                       created_at, source)
VALUES (%(tenant_id)s, %(mute_id)s, %(kind)s, %(matchers)s, %(title)s, %(author)s, %(starts_at)s, %(ends_at)s,
        %(recurrence)s, %(zone)s, now(), %(source)s)
    ON CONFLICT (tenant_id, mute_id) DO UPDATE
   SET matchers = excluded.matchers, title = excluded.title, author = excluded.author,
       starts_at = excluded.starts_at, ends_at = excluded.ends_at, recurrence = excluded.recurrence,
       zone = excluded.zone, cancelled_at = NULL, cancelled_by = NULL
 WHERE m.source = excluded.source;

-- name: cancel_mutes
-- Ends windows that their calendar no longer has.
UPDATE mute SET cancelled_at = %(now)s, cancelled_by = %(by)s
 WHERE tenant_id = %(tenant_id)s AND mute_id = ANY (%(mute_ids)s::uuid[]) AND cancelled_at IS NULL;

-- name: cancel_mute
-- Ends a mute before its time.
UPDATE mute SET cancelled_at = %(now)s, cancelled_by = %(by)s
 WHERE tenant_id = %(tenant_id)s AND mute_id = %(mute_id)s AND cancelled_at IS NULL;

-- name: list_mutes
-- Silences or maintenance windows that are not over, the caller's tenants only; for a key of one deployment those
-- that name it.
SELECT t.key, m.mute_id, m.kind, m.matchers, m.title, m.author, m.starts_at, m.ends_at, m.recurrence, m.zone
  FROM mute m
  JOIN tenant t ON t.tenant_id = m.tenant_id
 WHERE m.kind = %(kind)s AND m.cancelled_at IS NULL AND (m.recurrence <> '' OR m.ends_at > %(now)s)
   AND (%(tenant_id)s::int IS NULL OR m.tenant_id = %(tenant_id)s)
   AND (%(tenant)s::text IS NULL OR t.key = %(tenant)s)
   AND (%(deployment_id)s::int IS NULL
        OR EXISTS (SELECT FROM deployment d CROSS JOIN jsonb_array_elements(m.matchers) AS c
                    WHERE d.tenant_id = m.tenant_id AND d.deployment_id = %(deployment_id)s
                      AND c ->> 0 = 'deployment' AND c ->> 1 IN ('=', '==') AND c ->> 2 = d.key))
 ORDER BY m.starts_at, m.mute_id LIMIT %(limit)s;

-- name: mutable_alerts
-- Open alerts that a mute may begin or cease to cover: of tenants with a mute, or muted now; tenant by tenant.
SELECT a.tenant_id, a.alert_id, a.last_seq, a.priority, a.labels, a.silenced
  FROM alert a
 WHERE a.state IN ('firing', 'recovering')
   AND (a.silenced IS NOT NULL
        OR EXISTS (SELECT FROM mute m WHERE m.tenant_id = a.tenant_id AND m.cancelled_at IS NULL))
 ORDER BY a.tenant_id, a.alert_id;

-- name: turn_mute
-- A mute began or ended for an open alert; nothing if the alert moved since it was read.
WITH turned AS (
    UPDATE alert SET silenced = %(silenced)s, last_seq = last_seq + 1, changed_at = now()
     WHERE tenant_id = %(tenant_id)s AND alert_id = %(alert_id)s AND last_seq = %(seq)s
       AND state IN ('firing', 'recovering')
 RETURNING alert_id, last_seq, state, priority, value, coalesce(hidden, silenced) AS muted
)
INSERT INTO alert_transition (tenant_id, alert_id, seq, at, recorded_at, from_state, to_state, priority,
                              value, muted, reason)
SELECT %(tenant_id)s, alert_id, last_seq, %(now)s, %(now)s, state, state, priority, value, muted, %(reason)s
  FROM turned;

-- name: deployment_zone
-- A deployment's id and zone, by names.
SELECT d.tenant_id, d.deployment_id, d.zone
  FROM deployment d JOIN tenant t ON t.tenant_id = d.tenant_id
 WHERE t.key = %(tenant)s AND d.key = %(deployment)s;

-- name: tenant_id_of
-- A tenant's id by its key.
SELECT tenant_id FROM tenant WHERE key = %(tenant)s;

-- name: record_past_alert
-- An alert that was over before we heard of it, with all its transitions; not where one is on record already.
WITH past AS (
    INSERT INTO alert (tenant_id, deployment_id, host_id, rule_id, instance, problem_key, state, priority,
                       since, fired_at, resolved_at, value, unit, summary, pack_version, labels, silenced, last_seq,
                       changed_at)
    SELECT %(tenant_id)s, %(deployment_id)s, %(host_id)s::bigint, %(rule_id)s, %(instance)s, %(problem_key)s,
           %(state)s, %(priority)s, %(since)s, %(fired_at)s, %(resolved_at)s, %(value)s::float8, %(unit)s,
           %(summary)s, (SELECT max(version) FROM rule_pack WHERE mode = 'active'), %(labels)s, %(muted)s,
           cardinality(%(ats)s::timestamptz[]), now()
     WHERE NOT EXISTS (
           SELECT FROM alert a
            WHERE a.tenant_id = %(tenant_id)s AND a.host_id = %(host_id)s::bigint AND a.rule_id = %(rule_id)s
              AND a.instance = %(instance)s AND a.fired_at IS NOT NULL
              AND a.since < %(resolved_at)s AND coalesce(a.resolved_at, 'infinity') > %(since)s)
 RETURNING alert_id
)
INSERT INTO alert_transition (tenant_id, alert_id, seq, at, recorded_at, from_state, to_state, priority,
                              value, muted, reason)
SELECT %(tenant_id)s, p.alert_id, s.seq, s.at, now(), s.from_state, s.to_state, s.priority, s.value,
       %(muted)s, s.reason
  FROM past p,
       unnest(%(ats)s::timestamptz[], %(froms)s::text[], %(tos)s::text[], %(priorities)s::int[],
              %(values)s::float8[], %(reasons)s::text[])
       WITH ORDINALITY AS s (at, from_state, to_state, priority, value, reason, seq);

-- name: hosts_in_service
-- Hosts with their names, of one tenant or of all.
SELECT t.tenant_id, t.key, d.deployment_id, d.key, h.host_id, h.name
  FROM host h
  JOIN deployment d ON d.tenant_id = h.tenant_id AND d.deployment_id = h.deployment_id
  JOIN tenant t ON t.tenant_id = h.tenant_id
 WHERE h.retired_at IS NULL AND (%(tenant)s::text IS NULL OR t.key = %(tenant)s)
 ORDER BY t.key, d.key, h.name;

-- name: stream_positions
-- Alerts that changed, past a position, of the caller's only: what a stream has yet to tell.
SELECT alert_id, last_seq, changed_at
  FROM alert
 WHERE (changed_at, alert_id) > (%(after)s, %(after_id)s)
   AND (%(tenant_id)s::int IS NULL OR tenant_id = %(tenant_id)s)
   AND (%(deployment_id)s::int IS NULL OR deployment_id = %(deployment_id)s)
 ORDER BY changed_at, alert_id LIMIT %(limit)s;

-- name: database_now
-- The time that changed_at is taken from.
SELECT now();

-- name: add_note
-- What somebody said about an alert.
INSERT INTO alert_note (tenant_id, alert_id, kind, at, author, text)
SELECT tenant_id, alert_id, %(kind)s, %(now)s, %(author)s, %(text)s FROM alert WHERE alert_id = %(alert_id)s
RETURNING note_no, kind, at, author, text;

-- name: notes_of
-- What was said about an alert, in order.
SELECT n.note_no, n.kind, n.at, n.author, n.text
  FROM alert_note n JOIN alert a ON a.tenant_id = n.tenant_id AND a.alert_id = n.alert_id
 WHERE a.alert_id = %(alert_id)s AND n.note_no > %(after)s
 ORDER BY n.note_no LIMIT %(limit)s;

-- name: store_shadow
-- A pack on trial: stored, not in force.
WITH changed AS (INSERT INTO rule_change (at) VALUES (now()) RETURNING version)
INSERT INTO rule_pack (version, name, document, digest, loaded_at, loaded_by, mode)
SELECT version, %(name)s, %(document)s, %(digest)s, now(), %(by)s, 'shadow' FROM changed
RETURNING version;

-- name: retire_shadows
-- Ends every trial; what was found stays.
UPDATE rule_pack SET mode = 'retired' WHERE mode = 'shadow';

-- name: shadow_pack
-- The pack on trial.
SELECT version, name, document, loaded_at, loaded_by FROM rule_pack
 WHERE mode = 'shadow' ORDER BY version DESC LIMIT 1;

-- name: add_shadow_hosts
-- Hosts that the pack on trial has not met yet begin at its loading, or their own first frame after it.
INSERT INTO shadow_host (version, tenant_id, host_id, judged_to)
SELECT %(version)s, h.tenant_id, h.host_id, greatest(%(loaded_at)s, h.enrolled_at)
  FROM host h
 WHERE h.retired_at IS NULL
   AND NOT EXISTS (SELECT FROM shadow_host s WHERE s.version = %(version)s
                      AND s.tenant_id = h.tenant_id AND s.host_id = h.host_id)
    ON CONFLICT DO NOTHING;

-- name: shadow_due
-- Hosts in service whose newer frames have not been judged, of each tenant in turn the longest waiting first: one
-- whose hosts fail at every sweep does not take all the room.
SELECT t.tenant_id, t.key, d.deployment_id, d.key, h.host_id, h.name
  FROM (SELECT s.tenant_id, s.host_id, s.judged_to,
               row_number() OVER (PARTITION BY s.tenant_id ORDER BY s.judged_to, s.host_id) AS turn
          FROM shadow_host s
          JOIN host i ON i.tenant_id = s.tenant_id AND i.host_id = s.host_id AND i.retired_at IS NULL
         WHERE s.version = %(version)s AND s.judged_to <= %(before)s) AS w
  JOIN host h ON h.tenant_id = w.tenant_id AND h.host_id = w.host_id
  JOIN deployment d ON d.tenant_id = h.tenant_id AND d.deployment_id = h.deployment_id
  JOIN tenant t ON t.tenant_id = h.tenant_id
 ORDER BY w.turn, w.judged_to, w.tenant_id, w.host_id LIMIT %(limit)s;

-- name: claim_shadow
-- One host's trial; nothing when another sweep has it.
SELECT judged_to, state, heard_at FROM shadow_host
 WHERE version = %(version)s AND tenant_id = %(tenant_id)s AND host_id = %(host_id)s
   FOR NO KEY UPDATE SKIP LOCKED;

-- name: save_shadow
-- How far it has come.
UPDATE shadow_host SET judged_to = %(to)s, state = %(state)s, frames = frames + %(frames)s
 WHERE version = %(version)s AND tenant_id = %(tenant_id)s AND host_id = %(host_id)s;

-- name: shadow_fires
-- It would have raised an alert, or made it worse.
INSERT INTO shadow_fired (version, tenant_id, host_id, rule_id, instance, priority, started_at, muted)
VALUES (%(version)s, %(tenant_id)s, %(host_id)s, %(rule_id)s, %(instance)s, %(priority)s, %(at)s, %(muted)s)
    ON CONFLICT (version, tenant_id, host_id, rule_id, instance) WHERE ended_at IS NULL
    DO UPDATE SET priority = least(shadow_fired.priority, excluded.priority),
                  told_at = CASE WHEN shadow_fired.muted IS NOT NULL AND excluded.muted IS NULL
                                 THEN excluded.started_at ELSE shadow_fired.told_at END,
                  muted = CASE WHEN excluded.muted IS NULL THEN NULL ELSE shadow_fired.muted END;

-- name: shadow_muted
-- What fires under a trial on a host and is covered by a silence or a window.
SELECT rule_id, instance, priority FROM shadow_fired
 WHERE version = %(version)s AND tenant_id = %(tenant_id)s AND host_id = %(host_id)s
   AND ended_at IS NULL AND muted IS NOT NULL;

-- name: shadow_told
-- The silence or window is over, and it still fires: told from now on.
UPDATE shadow_fired SET muted = NULL, told_at = %(at)s
 WHERE version = %(version)s AND tenant_id = %(tenant_id)s AND host_id = %(host_id)s
   AND rule_id = %(rule_id)s AND instance = %(instance)s AND ended_at IS NULL AND muted IS NOT NULL;

-- name: shadow_quiet
-- Hosts without a receipt since a time, those that the trial still counts as silent, and those with which it keeps
-- the silence of a whole deployment.
SELECT s.tenant_id, t.key, d.deployment_id, d.key, s.host_id, h.name, r.last_seen
  FROM shadow_host s
  JOIN host_state r ON r.tenant_id = s.tenant_id AND r.host_id = s.host_id AND r.last_seen IS NOT NULL
  JOIN host h ON h.tenant_id = s.tenant_id AND h.host_id = s.host_id AND h.retired_at IS NULL
  JOIN deployment d ON d.tenant_id = h.tenant_id AND d.deployment_id = h.deployment_id
  JOIN tenant t ON t.tenant_id = s.tenant_id
 WHERE s.version = %(version)s
   AND (s.silent OR r.last_seen < %(before)s
        OR EXISTS (SELECT FROM shadow_fired f WHERE f.version = s.version AND f.tenant_id = s.tenant_id
                      AND f.host_id = s.host_id AND f.rule_id = ANY (%(wide)s) AND f.ended_at IS NULL))
 ORDER BY s.tenant_id, d.deployment_id, s.host_id;

-- name: save_shadow_silence
-- What receipts, or their absence, came to.
UPDATE shadow_host SET state = %(state)s, silent = %(silent)s, heard_at = %(heard_at)s
 WHERE version = %(version)s AND tenant_id = %(tenant_id)s AND host_id = %(host_id)s;

-- name: shadow_ends
-- It would have ended it.
UPDATE shadow_fired SET ended_at = %(at)s
 WHERE version = %(version)s AND tenant_id = %(tenant_id)s AND host_id = %(host_id)s
   AND rule_id = %(rule_id)s AND instance = %(instance)s AND ended_at IS NULL;

-- name: shadow_frames
-- How many frames a pack on trial has judged.
SELECT coalesce(sum(frames), 0)::bigint FROM shadow_host WHERE version = %(version)s;

-- name: shadow_found
-- What a pack on trial would have raised: of which host (or deployment), when, how bad, whether covered.
SELECT t.key || '/' || d.key || '/' || CASE WHEN f.rule_id = ANY (%(wide)s) THEN '(cluster)' ELSE h.name END,
       f.rule_id, f.instance, f.priority, coalesce(f.told_at, f.started_at), f.ended_at, f.muted IS NOT NULL
  FROM shadow_fired f
  JOIN host h ON h.tenant_id = f.tenant_id AND h.host_id = f.host_id
  JOIN deployment d ON d.tenant_id = h.tenant_id AND d.deployment_id = h.deployment_id
  JOIN tenant t ON t.tenant_id = f.tenant_id
 WHERE f.version = %(version)s ORDER BY f.started_at, f.host_id, f.rule_id, f.instance;

-- name: fired_meanwhile
-- What the rules in force raised since a time, as far as the trial has come with each host; about silence ("live")
-- it is always up to date. Somebody was told from the first transition that nothing covered; what was never more
-- than a consequence of another alert is left out.
SELECT t.key || '/' || d.key || '/' || coalesce(h.name, '(cluster)'), a.rule_id, a.instance, x.priority,
       coalesce(x.told_at, a.fired_at), a.resolved_at, x.told_at IS NULL
  FROM alert a
  JOIN deployment d ON d.tenant_id = a.tenant_id AND d.deployment_id = a.deployment_id
  JOIN tenant t ON t.tenant_id = a.tenant_id
  LEFT JOIN host h ON h.tenant_id = a.tenant_id AND h.host_id = a.host_id
  LEFT JOIN shadow_host s ON s.version = %(version)s AND s.tenant_id = a.tenant_id AND s.host_id = a.host_id
 CROSS JOIN LATERAL (
       SELECT min(y.priority) AS priority, min(y.at) FILTER (WHERE y.muted IS NULL) AS told_at
         FROM alert_transition y
        WHERE y.tenant_id = a.tenant_id AND y.alert_id = a.alert_id AND y.to_state = 'firing') AS x
 WHERE a.fired_at >= %(since)s AND (a.fired_at < s.judged_to OR a.rule_id = ANY (%(live)s))
   AND (a.hidden IS NULL OR x.told_at IS NOT NULL) AND a.rule_id = ANY (%(rules)s)
 ORDER BY a.fired_at, a.alert_id;
