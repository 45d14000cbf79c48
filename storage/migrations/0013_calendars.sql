-- Maintenance windows from calendars, reminders before silences end, and what retention goes by.
-- Writing room: alerting.

ALTER TABLE mute ADD COLUMN source text;             -- the calendar it was imported from; NULL: made by hand
ALTER TABLE mute ADD COLUMN remind text;             -- mail address told before it ends; NULL: the receivers of notices alone
ALTER TABLE mute ADD COLUMN reminded_at timestamptz; -- when that was written; NULL: not yet
CREATE INDEX mute_source ON mute (tenant_id, source) WHERE source IS NOT NULL AND cancelled_at IS NULL;
CREATE INDEX mute_ending ON mute (ends_at) WHERE kind = 'silence' AND cancelled_at IS NULL AND reminded_at IS NULL;

CREATE INDEX alert_ended ON alert (resolved_at) WHERE state IN ('resolved', 'stale');
CREATE INDEX notice_done ON notice (done_at) WHERE done_at IS NOT NULL;
