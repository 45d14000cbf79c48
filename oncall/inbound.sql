-- The on-call line's SQL. It writes on_call_pin, inbound_call, on_call_report and oncall_alarm.

-- name: place_of
-- A deployment by its keys.
SELECT t.tenant_id, d.deployment_id FROM tenant t JOIN deployment d USING (tenant_id)
WHERE t.key = %(tenant)s AND d.key = %(deployment)s

-- name: insert_pin
-- A new PIN; no row when this deployment has one in force, or the PIN was ever given to anybody.
INSERT INTO on_call_pin (tenant_id, deployment_id, digest, issued_at, issued_by)
VALUES (%(tenant_id)s, %(deployment_id)s, %(digest)s, %(now)s, %(by)s)
ON CONFLICT DO NOTHING RETURNING pin_id

-- name: revoke_pin
-- The PIN in force opens nothing any more.
UPDATE on_call_pin SET revoked_at = %(now)s, revoked_by = %(by)s
WHERE tenant_id = %(tenant_id)s AND deployment_id = %(deployment_id)s AND revoked_at IS NULL RETURNING pin_id

-- name: pin_in_force
-- Whether a deployment has a PIN.
SELECT pin_id FROM on_call_pin
WHERE tenant_id = %(tenant_id)s AND deployment_id = %(deployment_id)s AND revoked_at IS NULL

-- name: list_pins
-- Every PIN ever issued, without what is kept of it.
SELECT t.key AS tenant, d.key AS deployment, p.pin_id, p.issued_at, p.issued_by, p.revoked_at, p.revoked_by,
       (SELECT max(r.identified_at) FROM on_call_report r WHERE r.tenant_id = p.tenant_id AND r.pin_id = p.pin_id) AS used_at
FROM on_call_pin p JOIN tenant t USING (tenant_id) JOIN deployment d USING (tenant_id, deployment_id)
ORDER BY t.key, d.key, p.pin_id DESC

-- name: whose_pin
-- The deployment that a PIN belongs to.
SELECT tenant_id, deployment_id, pin_id FROM on_call_pin WHERE digest = %(digest)s AND revoked_at IS NULL

-- name: begin_call
-- A call to our number, once however often the provider tells of it.
INSERT INTO inbound_call (provider, provider_ref, caller, begun_at)
VALUES (%(provider)s, %(ref)s, %(caller)s, %(now)s)
ON CONFLICT (provider, provider_ref) DO NOTHING

-- name: lock_call
-- One call, locked: its callbacks wait for each other.
SELECT call_no, caller, tried, wrong, outcome FROM inbound_call
WHERE provider = %(provider)s AND provider_ref = %(ref)s FOR UPDATE

-- name: lock_guesses
-- One caller at a time is counted, so that guesses made side by side cannot pass the limits together.
SELECT pg_advisory_xact_lock(7204)

-- name: guesses
-- Wrong PINs of the last hour: from this number, from anybody; and whether a customer's contact has this number.
SELECT coalesce(sum(wrong) FILTER (WHERE caller = %(caller)s AND caller <> ''), 0)::int, coalesce(sum(wrong), 0)::int,
       EXISTS (SELECT FROM contact WHERE phone = %(caller)s)
FROM inbound_call WHERE begun_at > %(now)s - interval '1 hour'

-- name: count_guess
-- A PIN was entered: counted as wrong until it proves right.
UPDATE inbound_call SET tried = %(turn)s, wrong = wrong + 1 WHERE call_no = %(call_no)s

-- name: identified
-- The PIN was right.
UPDATE inbound_call SET wrong = greatest(wrong - 1, 0), outcome = 'identified'
WHERE call_no = %(call_no)s AND outcome <> 'identified' RETURNING call_no

-- name: turn_away
-- The call ends without a PIN.
UPDATE inbound_call SET outcome = 'turned_away' WHERE call_no = %(call_no)s AND outcome = 'asking' RETURNING call_no

-- name: insert_report
-- Who calls, and whether on-call serves them now; once for each call.
INSERT INTO on_call_report (tenant_id, deployment_id, pin_id, call_no, caller, identified_at, served, reason)
VALUES (%(tenant_id)s, %(deployment_id)s, %(pin_id)s, %(call_no)s, %(caller)s, %(now)s, %(served)s, %(reason)s)
ON CONFLICT (tenant_id, call_no) DO NOTHING

-- name: report_of_call
-- What a call has come to; no row before the right PIN.
SELECT tenant_id, deployment_id, report_id, served, confirmed_at FROM on_call_report WHERE call_no = %(call_no)s

-- name: confirm_report
-- Key 4: it cannot wait. From here on ticketing opens the ticket; a repeated key moves no time.
UPDATE on_call_report SET confirmed_at = %(now)s
WHERE tenant_id = %(tenant_id)s AND report_id = %(report_id)s AND served AND confirmed_at IS NULL RETURNING report_id

-- name: forget_calls
-- Calls that came to nothing are kept for a while, because a caller's number is a person's.
DELETE FROM inbound_call c WHERE c.begun_at < %(before)s
AND NOT EXISTS (SELECT FROM on_call_report r WHERE r.call_no = c.call_no)

-- name: raise_alarm
-- Something that our operations must know; found again, it only lasts longer.
INSERT INTO oncall_alarm (kind, opened_at, seen_at, detail, urgent)
VALUES (%(kind)s, %(now)s, %(now)s, %(detail)s, %(urgent)s)
ON CONFLICT (kind) WHERE ended_at IS NULL DO UPDATE SET seen_at = excluded.seen_at, detail = excluded.detail
RETURNING xmax = 0

-- name: end_alarms
-- What was not found again for so long is over.
UPDATE oncall_alarm SET ended_at = %(now)s WHERE ended_at IS NULL AND seen_at < %(before)s RETURNING kind
