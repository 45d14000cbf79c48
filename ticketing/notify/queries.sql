-- The outbox: what must be told, and how far that has come.

-- name: surroundings
-- What a letter says of its ticket's customer.
SELECT k.number, k.title, k.titles, t.name, t.facts, d.name, d.zone, k.language, k.channel, k.terms, k.deployment_id
  FROM ticket k
  JOIN tenant t USING (tenant_id)
  JOIN deployment d USING (tenant_id, deployment_id)
 WHERE k.tenant_id = %(tenant_id)s AND k.ticket_id = %(ticket_id)s;

-- name: readers
-- The customer's people who answer for a deployment and have an address.
SELECT DISTINCT ON (email) email, languages FROM contact
 WHERE tenant_id = %(tenant_id)s AND (deployment_ids = '{}' OR %(deployment_id)s = ANY (deployment_ids))
   AND email IS NOT NULL
 ORDER BY email, contact_id;

-- name: insert_letter
-- One thing to send; once per event and recipient.
INSERT INTO outbox (tenant_id, ticket_id, event_seq, channel, recipient, message, message_id, created_at,
                    next_try_at)
VALUES (%(tenant_id)s, %(ticket_id)s, %(event_seq)s, %(channel)s, %(recipient)s, %(message)s, %(message_id)s,
        %(now)s, %(now)s)
ON CONFLICT (tenant_id, ticket_id, event_seq, channel, recipient) DO NOTHING;

-- name: claim_letters
-- Take letters in hand for a while; never one before an earlier one of its ticket to the same recipient.
UPDATE outbox o
   SET lease_until = now() + %(lease)s, fence = o.fence + 1, attempts = o.attempts + 1
 WHERE (o.tenant_id, o.outbox_id) IN (
       SELECT c.tenant_id, c.outbox_id FROM outbox c
        WHERE c.next_try_at <= %(now)s AND (c.lease_until IS NULL OR c.lease_until < now())
          AND NOT EXISTS (SELECT FROM outbox e
                           WHERE (e.tenant_id, e.ticket_id, e.channel, e.recipient)
                               = (c.tenant_id, c.ticket_id, c.channel, c.recipient)
                             AND e.outbox_id < c.outbox_id AND e.next_try_at IS NOT NULL)
        ORDER BY c.next_try_at
        LIMIT %(limit)s
          FOR UPDATE SKIP LOCKED)
RETURNING o.tenant_id, o.outbox_id, o.channel, o.recipient, o.message, o.message_id, o.fence, o.attempts,
          o.created_at,
          (SELECT h ->> 'secret' FROM tenant t, jsonb_array_elements(t.facts -> 'webhooks') AS h
            WHERE t.tenant_id = o.tenant_id AND h ->> 'url' = o.recipient LIMIT 1);

-- name: letter_sent
-- It is sent; only by who still holds it.
UPDATE outbox SET sent_at = %(now)s, next_try_at = NULL, lease_until = NULL, last_error = NULL
 WHERE tenant_id = %(tenant_id)s AND outbox_id = %(outbox_id)s AND fence = %(fence)s;

-- name: letter_failed
-- It could not be sent: again later, or (without a next time) given up.
UPDATE outbox
   SET next_try_at = %(next_try_at)s, lease_until = NULL, last_error = %(error)s,
       given_up_at = CASE WHEN %(next_try_at)s::timestamptz IS NULL THEN %(now)s END
 WHERE tenant_id = %(tenant_id)s AND outbox_id = %(outbox_id)s AND fence = %(fence)s;
