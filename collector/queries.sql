-- Every query of the collector. Times and "now" come in as parameters; each query binds the tenant first where
-- the caller knows it.

-- name: agents_by_id
-- Credentials and their whole scopes, for checking tokens and for evaluation; replaced keys, and who spoke for
-- the hosts before.
SELECT a.tenant_id, t.key, d.deployment_id, d.key, h.host_id, h.name, a.public_key, a.revoked_at,
       ARRAY(SELECT k.public_key FROM agent_key k
             WHERE k.tenant_id = a.tenant_id AND k.agent_id = a.agent_id ORDER BY k.retires_at DESC LIMIT 4),
       ARRAY(SELECT k.retires_at FROM agent_key k
             WHERE k.tenant_id = a.tenant_id AND k.agent_id = a.agent_id ORDER BY k.retires_at DESC LIMIT 4),
       ARRAY(SELECT f.agent_id FROM agent f
             WHERE f.tenant_id = a.tenant_id AND f.host_id = a.host_id AND f.agent_id <> a.agent_id
             ORDER BY f.enrolled_at DESC, f.agent_id LIMIT 16),
       coalesce((SELECT r.run FROM agent_run r WHERE r.tenant_id = a.tenant_id AND r.agent_id = a.agent_id), ''),
       a.agent_id
FROM agent a
JOIN host h ON h.tenant_id = a.tenant_id AND h.host_id = a.host_id
JOIN tenant t ON t.tenant_id = a.tenant_id
JOIN deployment d ON d.tenant_id = h.tenant_id AND d.deployment_id = h.deployment_id
WHERE a.agent_id = ANY(%(agent_ids)s)

-- name: api_key_by_hash
-- The principal behind an API key, unless it was revoked.
SELECT name, role, tenant_id, deployment_id FROM api_key
WHERE key_hash = %(key_hash)s AND revoked_at IS NULL

-- name: api_key_insert
-- Creates an API key; no row when the name is taken.
INSERT INTO api_key (name, role, tenant_id, deployment_id, key_hash, created_by, created_at)
VALUES (%(name)s, %(role)s, %(tenant_id)s, %(deployment_id)s, %(key_hash)s, %(created_by)s, %(now)s)
ON CONFLICT (name) DO NOTHING
RETURNING api_key_id

-- name: api_keys
-- All API keys that the caller may see, newest first.
SELECT k.api_key_id, k.name, k.role, t.key, d.key, k.created_by, k.created_at, k.revoked_at
FROM api_key k
LEFT JOIN tenant t ON t.tenant_id = k.tenant_id
LEFT JOIN deployment d ON d.tenant_id = k.tenant_id AND d.deployment_id = k.deployment_id
WHERE (%(tenant_id)s::int IS NULL OR k.tenant_id = %(tenant_id)s::int)
  AND (%(deployment_id)s::int IS NULL OR k.deployment_id = %(deployment_id)s::int)
ORDER BY k.api_key_id DESC

-- name: api_key_revoke
-- Revokes an API key within the caller's scope; returns its hash so that caches can forget it.
UPDATE api_key SET revoked_at = coalesce(revoked_at, %(now)s)
WHERE api_key_id = %(api_key_id)s AND (%(tenant_id)s::int IS NULL OR tenant_id = %(tenant_id)s::int)
  AND (%(deployment_id)s::int IS NULL OR deployment_id = %(deployment_id)s::int)
RETURNING key_hash

-- name: deployment_by_key
-- The ids of a deployment named by its tenant's key and its own.
SELECT t.tenant_id, d.deployment_id
FROM tenant t JOIN deployment d ON d.tenant_id = t.tenant_id
WHERE t.key = %(tenant)s AND d.key = %(deployment)s

-- name: tenant_by_key
-- The id of the tenant named by its key.
SELECT tenant_id FROM tenant WHERE key = %(tenant)s

-- name: token_insert
-- Stores the hash of a new enrolment token.
INSERT INTO enrolment_token (tenant_id, token_hash, deployment_id, created_by, created_at, expires_at)
VALUES (%(tenant_id)s, %(token_hash)s, %(deployment_id)s, %(created_by)s, %(now)s, %(expires_at)s)

-- name: token_use
-- Takes the token for one agent: of any number of callers at once exactly one gets a row.
UPDATE enrolment_token SET used_at = %(now)s, used_by_agent = %(agent_id)s
WHERE token_hash = %(token_hash)s AND used_at IS NULL AND expires_at > %(now)s
RETURNING tenant_id, deployment_id

-- name: token_state
-- Why a token could not be taken, and whom it was taken by.
SELECT e.used_at, e.expires_at, a.agent_id, a.public_key, a.revoked_at, h.name
FROM enrolment_token e
LEFT JOIN agent a ON a.tenant_id = e.tenant_id AND a.agent_id = e.used_by_agent
LEFT JOIN host h ON h.tenant_id = a.tenant_id AND h.host_id = a.host_id
WHERE e.token_hash = %(token_hash)s

-- name: tokens
-- Enrolment tokens within the caller's scope, newest first; never the tokens themselves.
SELECT t.key, d.key, e.created_by, e.created_at, e.expires_at, e.used_at, e.used_by_agent
FROM enrolment_token e
JOIN tenant t ON t.tenant_id = e.tenant_id
JOIN deployment d ON d.tenant_id = e.tenant_id AND d.deployment_id = e.deployment_id
WHERE (%(tenant_id)s::int IS NULL OR e.tenant_id = %(tenant_id)s::int)
  AND (%(deployment_id)s::int IS NULL OR e.deployment_id = %(deployment_id)s::int)
ORDER BY e.created_at DESC
LIMIT %(limit)s

-- name: host_upsert
-- The host of this name in its deployment, made when it is new; facts are replaced. Locks its row.
INSERT INTO host (tenant_id, deployment_id, name, facts, enrolled_at)
VALUES (%(tenant_id)s, %(deployment_id)s, %(name)s, %(facts)s, %(now)s)
ON CONFLICT (tenant_id, deployment_id, name) WHERE retired_at IS NULL
DO UPDATE SET facts = EXCLUDED.facts
RETURNING host_id

-- name: agents_supersede
-- Revokes whatever agent spoke for the host until now: a host has one voice.
UPDATE agent SET revoked_at = %(now)s, revoked_why = %(why)s
WHERE tenant_id = %(tenant_id)s AND host_id = %(host_id)s AND revoked_at IS NULL
RETURNING agent_id

-- name: agent_insert
-- Stores the new agent's public key.
INSERT INTO agent (tenant_id, agent_id, host_id, public_key, enrolled_at)
VALUES (%(tenant_id)s, %(agent_id)s, %(host_id)s, %(public_key)s, %(now)s)

-- name: agent_lock
-- An agent's key and whether it was revoked, locked: one change of the key at a time.
SELECT tenant_id, public_key, revoked_at FROM agent WHERE agent_id = %(agent_id)s FOR UPDATE

-- name: keys_replaced
-- An agent's replaced keys.
SELECT public_key, replaced_at, retires_at FROM agent_key
WHERE tenant_id = %(tenant_id)s AND agent_id = %(agent_id)s

-- name: key_replace
-- Puts the new key in force and keeps the old one until it retires.
WITH kept AS (
    INSERT INTO agent_key (tenant_id, agent_id, public_key, replaced_at, retires_at)
    VALUES (%(tenant_id)s, %(agent_id)s, %(old)s, %(now)s, %(retires_at)s))
UPDATE agent SET public_key = %(new)s, key_since = %(now)s
WHERE tenant_id = %(tenant_id)s AND agent_id = %(agent_id)s

-- name: run_lock
-- Who spoke under an identity, locked.
SELECT run, former, returns, returned_at FROM agent_run
WHERE tenant_id = %(tenant_id)s AND agent_id = %(agent_id)s FOR UPDATE

-- name: run_save
-- Who speaks under an identity now.
INSERT INTO agent_run (tenant_id, agent_id, run, since, former, returns, returned_at)
VALUES (%(tenant_id)s, %(agent_id)s, %(run)s, %(now)s, %(former)s, %(returns)s, %(returned_at)s)
ON CONFLICT (tenant_id, agent_id) DO UPDATE
SET run = EXCLUDED.run, since = EXCLUDED.since, former = EXCLUDED.former, returns = EXCLUDED.returns,
    returned_at = EXCLUDED.returned_at

-- name: agent_self
-- What the collector tells an agent of itself.
SELECT coalesce(a.key_since, a.enrolled_at), r.returned_at, coalesce(r.returns, 0)
FROM agent a LEFT JOIN agent_run r ON r.tenant_id = a.tenant_id AND r.agent_id = a.agent_id
WHERE a.tenant_id = %(tenant_id)s AND a.agent_id = %(agent_id)s

-- name: agents
-- Agents within the caller's scope, newest first; ``seen_twice_at``: when two spoke under its identity last.
SELECT a.agent_id, t.key, d.key, h.host_id, h.name, a.enrolled_at, a.revoked_at, a.revoked_why,
       coalesce(a.key_since, a.enrolled_at), CASE WHEN r.returns >= %(certain)s THEN r.returned_at END
FROM agent a
LEFT JOIN agent_run r ON r.tenant_id = a.tenant_id AND r.agent_id = a.agent_id
JOIN host h ON h.tenant_id = a.tenant_id AND h.host_id = a.host_id
JOIN tenant t ON t.tenant_id = a.tenant_id
JOIN deployment d ON d.tenant_id = h.tenant_id AND d.deployment_id = h.deployment_id
WHERE (%(tenant_id)s::int IS NULL OR a.tenant_id = %(tenant_id)s::int)
  AND (%(deployment_id)s::int IS NULL OR h.deployment_id = %(deployment_id)s::int)
ORDER BY a.enrolled_at DESC, a.agent_id
LIMIT %(limit)s

-- name: agent_revoke
-- Revokes an agent within the caller's scope; a second time changes nothing.
UPDATE agent a SET revoked_at = coalesce(revoked_at, %(now)s), revoked_why = coalesce(revoked_why, %(why)s)
WHERE agent_id = %(agent_id)s AND (%(tenant_id)s::int IS NULL OR tenant_id = %(tenant_id)s::int)
  AND (%(deployment_id)s::int IS NULL
       OR EXISTS (SELECT FROM host h WHERE h.tenant_id = a.tenant_id AND h.host_id = a.host_id
                     AND h.deployment_id = %(deployment_id)s::int))
RETURNING revoked_at

-- name: facts_update
-- Merges what the agent reports of its platform into the host's facts.
UPDATE host SET facts = facts || %(facts)s
WHERE tenant_id = %(tenant_id)s AND host_id = %(host_id)s
RETURNING facts

-- name: layout_find
-- Layouts of one tenant by digest.
SELECT digest, layout_id, body FROM layout
WHERE tenant_id = %(tenant_id)s AND digest = ANY(%(digests)s)

-- name: layout_insert
-- Registers a layout once, however many ask at the same time, as long as the tenant has room for it.
INSERT INTO layout (tenant_id, digest, body, created_at)
SELECT %(tenant_id)s, %(digest)s, %(body)s, %(now)s
WHERE (SELECT count(*) FROM layout WHERE tenant_id = %(tenant_id)s) < %(most)s
ON CONFLICT (tenant_id, digest) DO NOTHING

-- name: ingest_limits
-- Bounds of a connection's transactions: they wait for locks only briefly and never run on for ever.
SELECT set_config('lock_timeout', %(lock_timeout)s, false), set_config('statement_timeout', %(statement_timeout)s, false)

-- name: ledger_add
-- Takes the batches' keys, none of which is expected to be there: else nothing is taken (unique violation).
INSERT INTO batch_ledger (tenant_id, agent_id, epoch, seq, digest, received_at)
SELECT * FROM unnest(%(tenant_ids)s::int[], %(agent_ids)s::uuid[], %(epochs)s::bigint[], %(seqs)s::bigint[],
                     %(digests)s::bytea[], %(received)s::timestamptz[])

-- name: ledger_insert
-- Takes the batches' keys in one sorted statement; the rows that come back are the winners.
INSERT INTO batch_ledger (tenant_id, agent_id, epoch, seq, digest, received_at)
SELECT * FROM unnest(%(tenant_ids)s::int[], %(agent_ids)s::uuid[], %(epochs)s::bigint[], %(seqs)s::bigint[],
                     %(digests)s::bytea[], %(received)s::timestamptz[])
       AS key (tenant_id, agent_id, epoch, seq, digest, received_at)
ORDER BY 1, 2, 3, 4
ON CONFLICT DO NOTHING
RETURNING tenant_id, agent_id, epoch, seq

-- name: ledger_digests
-- What the ledger holds under keys that were taken already.
SELECT l.tenant_id, l.agent_id, l.epoch, l.seq, l.digest
FROM batch_ledger l
JOIN unnest(%(tenant_ids)s::int[], %(agent_ids)s::uuid[], %(epochs)s::bigint[], %(seqs)s::bigint[])
     AS key (tenant_id, agent_id, epoch, seq) USING (tenant_id, agent_id, epoch, seq)

-- name: frame_copy
-- The stream of frames of one group, in PostgreSQL's binary format (collector/copyrow.py).
COPY frame (tenant_id, host_id, layout_id, time, values) FROM STDIN (FORMAT BINARY)

-- name: event_insert
-- The events of one group.
INSERT INTO event (tenant_id, host_id, time, source, event_id, severity, message, attributes)
SELECT * FROM unnest(%(tenant_ids)s::int[], %(host_ids)s::bigint[], %(times)s::timestamptz[], %(sources)s::text[],
                     %(event_ids)s::text[], %(severities)s::text[], %(messages)s::text[], %(attributes)s::jsonb[])

-- name: host_layout_insert
-- Notes that a host sends frames in a layout; sorted, so that two groups never wait for each other in a circle.
INSERT INTO host_layout (tenant_id, host_id, layout_id, first_seen)
SELECT * FROM unnest(%(tenant_ids)s::int[], %(host_ids)s::bigint[], %(layout_ids)s::bigint[], %(seen)s::timestamptz[])
       AS pair (tenant_id, host_id, layout_id, first_seen)
ORDER BY 1, 2, 3
ON CONFLICT DO NOTHING

-- name: host_layout_count
-- How many layouts a host has used in its life.
SELECT count(*) FROM host_layout WHERE tenant_id = %(tenant_id)s AND host_id = %(host_id)s

-- name: admitted
-- Which of some layouts hosts were let use already.
SELECT hl.tenant_id, hl.host_id, l.digest
FROM unnest(%(tenant_ids)s::int[], %(host_ids)s::bigint[], %(digests)s::bytea[]) AS k (tenant_id, host_id, digest)
JOIN layout l ON l.tenant_id = k.tenant_id AND l.digest = k.digest
JOIN host_layout hl ON hl.tenant_id = k.tenant_id AND hl.host_id = k.host_id AND hl.layout_id = l.layout_id

-- name: host_layouts_known
-- Which of some layouts a host was let use already.
SELECT l.digest FROM host_layout hl JOIN layout l USING (tenant_id, layout_id)
WHERE hl.tenant_id = %(tenant_id)s AND hl.host_id = %(host_id)s AND l.digest = ANY(%(digests)s)

-- name: lock_tenant_series
-- One host of a tenant at a time is let use a new layout; ends with the transaction.
SELECT pg_advisory_xact_lock(hashtext('series'), %(tenant_id)s)

-- name: live_layouts
-- The layouts of a host whose series count.
SELECT l.body FROM host_layout hl JOIN layout l USING (tenant_id, layout_id)
WHERE hl.tenant_id = %(tenant_id)s AND hl.host_id = %(host_id)s AND hl.aged_at IS NULL

-- name: series_counts
-- Live series of a whole tenant, and of one of its hosts, as last counted.
SELECT coalesce(sum(live), 0)::bigint, coalesce(sum(live) FILTER (WHERE host_id = %(host_id)s), 0)::bigint
FROM host_series WHERE tenant_id = %(tenant_id)s

-- name: series_admitted
-- A host was let use a new layout: it counts from now on.
INSERT INTO host_series (tenant_id, host_id, live, counted_at)
VALUES (%(tenant_id)s, %(host_id)s, %(live)s, %(now)s)
ON CONFLICT (tenant_id, host_id) DO UPDATE SET live = EXCLUDED.live

-- name: census_begin
-- Rows for hosts that were never counted.
INSERT INTO host_series (tenant_id, host_id)
SELECT DISTINCT l.tenant_id, l.host_id FROM host_layout l
WHERE NOT EXISTS (SELECT FROM host_series s WHERE s.tenant_id = l.tenant_id AND s.host_id = l.host_id)
ON CONFLICT DO NOTHING

-- name: census_take
-- Hosts not counted since a time, the longest unseen first; beside others who do the same.
SELECT tenant_id, host_id FROM host_series WHERE counted_at < %(before)s
ORDER BY counted_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED

-- name: census_probe
-- The layouts of some hosts, and the newest frame in each since a time.
SELECT l.tenant_id, l.host_id, l.layout_id, l.first_seen, l.aged_at IS NOT NULL, f.time
FROM unnest(%(tenant_ids)s::int[], %(host_ids)s::bigint[]) AS k (tenant_id, host_id)
JOIN host_layout l USING (tenant_id, host_id)
LEFT JOIN LATERAL (
    SELECT time FROM frame
    WHERE tenant_id = l.tenant_id AND host_id = l.host_id AND layout_id = l.layout_id AND time >= %(since)s
    ORDER BY time DESC LIMIT 1) f ON true

-- name: census_age
-- Since when layouts of hosts do not count; NULL: they count again.
UPDATE host_layout l SET aged_at = %(aged_at)s
FROM unnest(%(tenant_ids)s::int[], %(host_ids)s::bigint[], %(layout_ids)s::bigint[])
     AS k (tenant_id, host_id, layout_id)
WHERE l.tenant_id = k.tenant_id AND l.host_id = k.host_id AND l.layout_id = k.layout_id

-- name: census_save
-- Live series of some hosts, counted now.
UPDATE host_series s SET live = k.live, counted_at = %(now)s
FROM unnest(%(tenant_ids)s::int[], %(host_ids)s::bigint[], %(counts)s::int[]) AS k (tenant_id, host_id, live)
WHERE s.tenant_id = k.tenant_id AND s.host_id = k.host_id

-- name: live_series
-- Live series in all, as last counted.
SELECT coalesce(sum(live), 0)::bigint FROM host_series

-- name: layout_bodies
-- What some layouts hold.
SELECT l.tenant_id, l.layout_id, l.body
FROM unnest(%(tenant_ids)s::int[], %(layout_ids)s::bigint[]) AS k (tenant_id, layout_id)
JOIN layout l USING (tenant_id, layout_id)

-- name: ledger_expire
-- Deletes the oldest ledger rows past the horizon, a bounded number at a time, beside others who do the same.
DELETE FROM batch_ledger WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM batch_ledger WHERE received_at < %(before)s
    ORDER BY received_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED))

-- name: hosts
-- Hosts within the caller's scope, by id.
SELECT h.host_id, t.key, d.key, h.name, h.facts, h.enrolled_at, h.retired_at, s.last_seen, s.frontier
FROM host h
JOIN tenant t ON t.tenant_id = h.tenant_id
JOIN deployment d ON d.tenant_id = h.tenant_id AND d.deployment_id = h.deployment_id
LEFT JOIN host_state s ON s.tenant_id = h.tenant_id AND s.host_id = h.host_id
WHERE (%(tenant_id)s::int IS NULL OR h.tenant_id = %(tenant_id)s::int)
  AND (%(deployment_id)s::int IS NULL OR h.deployment_id = %(deployment_id)s::int)
  AND (%(tenant)s::text IS NULL OR t.key = %(tenant)s::text)
  AND (%(deployment)s::text IS NULL OR d.key = %(deployment)s::text)
  AND (%(host_id)s::bigint IS NULL OR h.host_id = %(host_id)s::bigint)
  AND h.host_id > %(after)s
ORDER BY h.host_id
LIMIT %(limit)s

-- name: host_tenant
-- The tenant of a host within the caller's scope: every further read binds it.
SELECT tenant_id FROM host
WHERE host_id = %(host_id)s
  AND (%(tenant_id)s::int IS NULL OR tenant_id = %(tenant_id)s::int)
  AND (%(deployment_id)s::int IS NULL OR deployment_id = %(deployment_id)s::int)

-- name: host_layouts
-- The layouts that a host has sent frames in.
SELECT l.layout_id, l.digest, l.body
FROM host_layout hl JOIN layout l USING (tenant_id, layout_id)
WHERE hl.tenant_id = %(tenant_id)s AND hl.host_id = %(host_id)s
ORDER BY l.layout_id

-- name: latest_frames
-- The newest frame of a host in each of the given layouts, not older than ``since``.
SELECT l.layout_id, f.time, f.values
FROM unnest(%(layout_ids)s::bigint[]) AS l (layout_id)
CROSS JOIN LATERAL (
    SELECT time, values FROM frame
    WHERE tenant_id = %(tenant_id)s AND host_id = %(host_id)s AND layout_id = l.layout_id AND time >= %(since)s
    ORDER BY time DESC LIMIT 1) f

-- name: series_points
-- Series of one layout in steps: index, then per step that has any value its start (ms), least, mean, greatest, count.
-- OFFSET 0 keeps the planner from carrying whole arrays through the grouping, a hundred times what is wanted.
SELECT i, array_agg(at_ms ORDER BY at_ms), array_agg(low ORDER BY at_ms), array_agg(mean ORDER BY at_ms),
       array_agg(high ORDER BY at_ms), array_agg(n ORDER BY at_ms)
FROM (SELECT i, at_ms, min(low) AS low, avg(low) AS mean, max(high) AS high, sum(n) AS n
      FROM (SELECT k.i, at_ms, values[k.i] AS low, values[k.i] AS high, (values[k.i] IS NOT NULL)::int AS n
            FROM (SELECT (extract(epoch FROM date_bin(make_interval(secs => %(step_s)s), time, %(origin)s))
                          * 1000)::bigint AS at_ms, values
                  FROM frame
                  WHERE tenant_id = %(tenant_id)s AND host_id = %(host_id)s AND layout_id = %(layout_id)s
                    AND time >= %(start)s AND time < %(end)s OFFSET 0) rows,
                 unnest(%(indexes)s::int[]) AS k (i)
            OFFSET 0) one
      WHERE n > 0 GROUP BY i, at_ms) steps
GROUP BY i

-- name: events
-- Events of one host, newest first.
SELECT event_key, time, source, event_id, severity, message, attributes
FROM event
WHERE tenant_id = %(tenant_id)s AND host_id = %(host_id)s AND time >= %(start)s AND time < %(end)s
  AND (%(severity)s::text IS NULL OR severity = %(severity)s::text)
  AND (%(source)s::text IS NULL OR source = %(source)s::text)
  AND (%(before_time)s::timestamptz IS NULL
       OR (time, event_key) < (%(before_time)s::timestamptz, %(before_key)s::bigint))
ORDER BY time DESC, event_key DESC
LIMIT %(limit)s

-- name: host_facts
-- One host with its facts, and whether an agent may speak for it now.
SELECT h.tenant_id, h.host_id, h.deployment_id, h.name, h.facts, h.enrolled_at, h.retired_at,
       EXISTS (SELECT FROM agent a
               WHERE a.tenant_id = h.tenant_id AND a.host_id = h.host_id AND a.revoked_at IS NULL)
FROM host h
WHERE h.tenant_id = %(tenant_id)s AND h.host_id = %(host_id)s

-- name: frames_between
-- The frames of one host in time order: what a replay reads.
SELECT layout_id, time, values FROM frame
WHERE tenant_id = %(tenant_id)s AND host_id = %(host_id)s AND time >= %(start)s AND time < %(end)s
ORDER BY time, layout_id

-- name: newest_values
-- The newest frames of some hosts since a time, newest first, at most so many of each layout.
SELECT hl.host_id, l.digest, f.time, f.values
FROM host_layout hl
JOIN layout l USING (tenant_id, layout_id)
CROSS JOIN LATERAL (
    SELECT time, values FROM frame
    WHERE tenant_id = hl.tenant_id AND host_id = hl.host_id AND layout_id = hl.layout_id AND time >= %(since)s
    ORDER BY time DESC
    LIMIT %(limit)s
) f
WHERE hl.tenant_id = %(tenant_id)s AND hl.host_id = ANY (%(host_ids)s::bigint[])

-- name: events_between
-- The events of one host in time order: what a trial of rules reads.
SELECT time, source, event_id, severity, message, attributes FROM event
WHERE tenant_id = %(tenant_id)s AND host_id = %(host_id)s AND time >= %(start)s AND time < %(end)s
ORDER BY time, event_key

-- name: mark_insert
-- Notes late frames' buckets for the rollups, in the commit that stores the frames.
INSERT INTO rollup_mark (tenant_id, host_id, layout_id, time)
SELECT * FROM unnest(%(tenant_ids)s::int[], %(host_ids)s::bigint[], %(layout_ids)s::bigint[], %(times)s::timestamptz[])

-- name: mark_take
-- Takes marks, oldest first within a tenant: what they speak of is visible to every later statement.
DELETE FROM rollup_mark m
USING (SELECT tenant_id, mark_id FROM rollup_mark ORDER BY tenant_id, mark_id LIMIT %(limit)s) AS taken
WHERE m.tenant_id = taken.tenant_id AND m.mark_id = taken.mark_id
RETURNING m.tenant_id, m.host_id, m.layout_id, m.time

-- name: rollup_lock
-- One worker at a time rolls up; held by the session.
SELECT pg_try_advisory_lock(hashtext('rollup'))

-- name: rollup_unlock
-- The round is over.
SELECT pg_advisory_unlock(hashtext('rollup'))

-- name: rollup_holder
-- Who rolls up now, as the server numbers its processes.
SELECT pid FROM pg_locks
WHERE locktype = 'advisory' AND granted AND objsubid = 1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (classid::bigint << 32 | objid::bigint) = hashtext('rollup')::bigint

-- name: oldest_writer
-- Seconds since the oldest transaction that writes here began, leaving out those that are too old to be ingest's.
SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8 FROM pg_stat_activity
WHERE datname = current_database() AND backend_xid IS NOT NULL
  AND xact_start >= clock_timestamp() - make_interval(secs => %(longest_s)s)

-- name: rollup_progress
-- How far each span has come.
SELECT span_s, since, until FROM rollup_progress

-- name: rollup_begin
-- The first round's starting point.
INSERT INTO rollup_progress (span_s, since, until)
VALUES (300, %(since)s, %(since)s), (3600, %(since)s, %(since)s)
ON CONFLICT DO NOTHING

-- name: rollup_step_back
-- What lies after a time was rolled up too early.
UPDATE rollup_progress SET
    until = least(until, greatest(since, CASE span_s WHEN 300 THEN %(five)s::timestamptz ELSE %(hour)s::timestamptz END))

-- name: rollup_advance
-- A bucket is complete.
UPDATE rollup_progress SET until = %(until)s WHERE span_s = %(span_s)s

-- name: rollup_hosts
-- The layouts of hosts heard of since a time: who may have frames after it.
SELECT l.tenant_id, l.host_id, l.layout_id
FROM host_layout l JOIN host_state s ON s.tenant_id = l.tenant_id AND s.host_id = l.host_id
WHERE s.last_seen >= %(since)s
ORDER BY l.tenant_id, l.host_id, l.layout_id

-- name: rollup_frames
-- The frames of 5-minute buckets, in time order within each.
SELECT k.tenant_id, k.host_id, k.layout_id, k.time, f.values
FROM unnest(%(tenant_ids)s::int[], %(host_ids)s::bigint[], %(layout_ids)s::bigint[], %(times)s::timestamptz[])
     AS k (tenant_id, host_id, layout_id, time)
CROSS JOIN LATERAL (
    SELECT time, values FROM frame
    WHERE tenant_id = k.tenant_id AND host_id = k.host_id AND layout_id = k.layout_id
      AND time >= k.time AND time < k.time + interval '5 minutes') f
ORDER BY k.tenant_id, k.host_id, k.layout_id, k.time, f.time

-- name: rollup_fives
-- The 5-minute rollups of hours, in time order within each.
SELECT k.tenant_id, k.host_id, k.layout_id, k.time, f.mins, f.maxs, f.sums, f.counts, f.lasts
FROM unnest(%(tenant_ids)s::int[], %(host_ids)s::bigint[], %(layout_ids)s::bigint[], %(times)s::timestamptz[])
     AS k (tenant_id, host_id, layout_id, time)
CROSS JOIN LATERAL (
    SELECT time, mins, maxs, sums, counts, lasts FROM rollup_five
    WHERE tenant_id = k.tenant_id AND host_id = k.host_id AND layout_id = k.layout_id
      AND time >= k.time AND time < k.time + interval '1 hour') f
ORDER BY k.tenant_id, k.host_id, k.layout_id, k.time, f.time

-- name: five_delete
-- Makes room for 5-minute rollups that are worked out anew.
DELETE FROM rollup_five r
USING unnest(%(tenant_ids)s::int[], %(host_ids)s::bigint[], %(layout_ids)s::bigint[], %(times)s::timestamptz[])
      AS k (tenant_id, host_id, layout_id, time)
WHERE r.tenant_id = k.tenant_id AND r.host_id = k.host_id AND r.layout_id = k.layout_id AND r.time = k.time

-- name: hour_delete
-- Makes room for hourly rollups that are worked out anew.
DELETE FROM rollup_hour r
USING unnest(%(tenant_ids)s::int[], %(host_ids)s::bigint[], %(layout_ids)s::bigint[], %(times)s::timestamptz[])
      AS k (tenant_id, host_id, layout_id, time)
WHERE r.tenant_id = k.tenant_id AND r.host_id = k.host_id AND r.layout_id = k.layout_id AND r.time = k.time

-- name: five_copy
-- The stream of 5-minute rollups, in PostgreSQL's binary format (collector/copyrow.py).
COPY rollup_five (tenant_id, host_id, layout_id, time, mins, maxs, sums, counts, lasts) FROM STDIN (FORMAT BINARY)

-- name: hour_copy
-- The stream of hourly rollups, likewise.
COPY rollup_hour (tenant_id, host_id, layout_id, time, mins, maxs, sums, counts, lasts) FROM STDIN (FORMAT BINARY)

-- name: five_points
-- The same out of 5-minute rollups.
SELECT i, array_agg(at_ms ORDER BY at_ms), array_agg(low ORDER BY at_ms), array_agg(mean ORDER BY at_ms),
       array_agg(high ORDER BY at_ms), array_agg(n ORDER BY at_ms)
FROM (SELECT i, at_ms, min(low) AS low, sum(total) / sum(n) AS mean, max(high) AS high, sum(n) AS n
      FROM (SELECT k.i, at_ms, mins[k.i] AS low, maxs[k.i] AS high, sums[k.i] AS total, counts[k.i] AS n
            FROM (SELECT (extract(epoch FROM date_bin(make_interval(secs => %(step_s)s), time, %(origin)s))
                          * 1000)::bigint AS at_ms, mins, maxs, sums, counts
                  FROM rollup_five
                  WHERE tenant_id = %(tenant_id)s AND host_id = %(host_id)s AND layout_id = %(layout_id)s
                    AND time >= %(start)s AND time < %(end)s OFFSET 0) rows,
                 unnest(%(indexes)s::int[]) AS k (i)
            OFFSET 0) one
      WHERE n > 0 GROUP BY i, at_ms) steps
GROUP BY i

-- name: hour_points
-- The same out of hourly rollups.
SELECT i, array_agg(at_ms ORDER BY at_ms), array_agg(low ORDER BY at_ms), array_agg(mean ORDER BY at_ms),
       array_agg(high ORDER BY at_ms), array_agg(n ORDER BY at_ms)
FROM (SELECT i, at_ms, min(low) AS low, sum(total) / sum(n) AS mean, max(high) AS high, sum(n) AS n
      FROM (SELECT k.i, at_ms, mins[k.i] AS low, maxs[k.i] AS high, sums[k.i] AS total, counts[k.i] AS n
            FROM (SELECT (extract(epoch FROM date_bin(make_interval(secs => %(step_s)s), time, %(origin)s))
                          * 1000)::bigint AS at_ms, mins, maxs, sums, counts
                  FROM rollup_hour
                  WHERE tenant_id = %(tenant_id)s AND host_id = %(host_id)s AND layout_id = %(layout_id)s
                    AND time >= %(start)s AND time < %(end)s OFFSET 0) rows,
                 unnest(%(indexes)s::int[]) AS k (i)
            OFFSET 0) one
      WHERE n > 0 GROUP BY i, at_ms) steps
GROUP BY i
