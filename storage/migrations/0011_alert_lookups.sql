-- Look-ups that would otherwise read whole tables once many alerts have ended. Writing room: alerting.

-- What never fired is forgotten after some days.
CREATE INDEX alert_never_fired ON alert (resolved_at) WHERE fired_at IS NULL AND state IN ('resolved', 'stale');
-- Replay asks whether a past alert of this host, rule and instance is on record, while it holds the host's lock.
CREATE INDEX alert_of_host ON alert (tenant_id, host_id, rule_id, instance);
