-- Queries of oncall.roster.

-- name: newest_document
-- The rota in force.
SELECT rota_id, document, saved_at, saved_by FROM rota_document ORDER BY rota_id DESC LIMIT 1;

-- name: one_saves
-- Whoever saves a rota comes after whoever is saving one.
SELECT pg_advisory_xact_lock(hashtext('oncall.rota.save'));

-- name: save_document
-- Puts a rota in force; earlier ones stay as history.
INSERT INTO rota_document (document, saved_at, saved_by) VALUES (%(document)s, %(now)s, %(actor)s)
RETURNING rota_id;

-- name: live_overrides
-- Overrides that are not deleted and not over since long, in the order in which they were made.
SELECT override_id, schedule, person_key, replaces, starts, ends, reason, created_at, created_by
FROM rota_override WHERE deleted_at IS NULL AND ends > %(since)s ORDER BY made_no;

-- name: add_override
-- Adds an override; the same id again changes nothing.
INSERT INTO rota_override
    (override_id, schedule, person_key, replaces, starts, ends, reason, created_at, created_by)
VALUES (%(override_id)s, %(schedule)s, %(person_key)s, %(replaces)s, %(starts)s, %(ends)s, %(reason)s,
        %(now)s, %(actor)s)
ON CONFLICT (override_id) DO NOTHING;

-- name: delete_override
-- Takes an override back; it stays as history.
UPDATE rota_override SET deleted_at = %(now)s, deleted_by = %(actor)s
WHERE override_id = %(override_id)s AND deleted_at IS NULL
RETURNING schedule;

-- name: live_absences
-- Imported absences that are not over since long.
SELECT person_key, starts, ends, reason, source FROM rota_absence WHERE ends > %(since)s ORDER BY starts, absence_id;

-- name: forget_absences
-- Removes what an earlier import of the same calendar left.
DELETE FROM rota_absence WHERE person_key = %(person_key)s AND source = %(source)s;

-- name: add_absence
-- Adds one imported absence.
INSERT INTO rota_absence (person_key, source, starts, ends, reason, imported_at, imported_by)
VALUES (%(person_key)s, %(source)s, %(starts)s, %(ends)s, %(reason)s, %(now)s, %(actor)s);

-- name: add_feed
-- Adds a calendar feed.
INSERT INTO rota_feed (kind, name, token_hash, created_at, created_by)
VALUES (%(kind)s, %(name)s, %(token_hash)s, %(now)s, %(actor)s) RETURNING feed_id;

-- name: feed_of
-- The feed that a token opens.
SELECT kind, name FROM rota_feed WHERE token_hash = %(token_hash)s AND revoked_at IS NULL;

-- name: feeds
-- Feeds that are not revoked; never their tokens.
SELECT feed_id, kind, name, created_at, created_by FROM rota_feed WHERE revoked_at IS NULL ORDER BY feed_id;

-- name: revoke_feed
-- Closes a feed for good.
UPDATE rota_feed SET revoked_at = %(now)s WHERE feed_id = %(feed_id)s AND revoked_at IS NULL RETURNING feed_id;

-- name: last_change
-- When anything in the rota was last changed: the stamp of its calendars.
SELECT greatest(
    (SELECT max(saved_at) FROM rota_document),
    (SELECT max(greatest(created_at, deleted_at)) FROM rota_override),
    (SELECT max(imported_at) FROM rota_absence));

-- name: record_check
-- Records a look for gaps.
INSERT INTO rota_gap_check (checked_at, occasion, starts, ends, gaps, fault)
VALUES (%(now)s, %(occasion)s, %(starts)s, %(ends)s, %(gaps)s, %(fault)s) RETURNING check_id;

-- name: record_gap
-- Records one gap of a look.
INSERT INTO rota_gap (check_id, subject, starts, ends, reason)
VALUES (%(check_id)s, %(subject)s, %(starts)s, %(ends)s, %(reason)s);

-- name: newest_check
-- The newest look for gaps.
SELECT check_id, checked_at, occasion, starts, ends, gaps, fault
FROM rota_gap_check ORDER BY check_id DESC LIMIT 1;

-- name: gaps_of
-- What a look found.
SELECT subject, starts, ends, reason FROM rota_gap WHERE check_id = %(check_id)s ORDER BY starts, subject;

-- name: claim_daily
-- One process at a time looks; whoever comes second goes on with something else.
SELECT pg_try_advisory_xact_lock(hashtext('oncall.rota.daily'));

-- name: daily_since
-- Whether the daily look was done at or after an instant.
SELECT EXISTS (SELECT FROM rota_gap_check WHERE occasion = 'daily' AND checked_at >= %(since)s);

-- name: prune_checks
-- Forgets looks for gaps that nobody will ask for any more.
DELETE FROM rota_gap_check WHERE checked_at < %(before)s;

-- name: may_think
-- A look ahead works things out between two statements, and holds nothing that anybody waits for: no limit for that.
SET LOCAL idle_in_transaction_session_timeout TO 0
