-- Alerts that others push, silences in the Alertmanager's terms, what people say about alerts, and notices of
-- alerts that page nobody. Writing room: alerting.

ALTER TABLE mute ADD COLUMN made_by text;            -- name of the key that made it; its author may be told freely
ALTER TABLE mute ADD COLUMN updated_at timestamptz;  -- NULL: never changed since it was made
COMMENT ON COLUMN mute.matchers IS
    '[[label, op, pattern]], all must match; = and != take patterns with *, == and !== are exact, =~ and !~ RE2';

CREATE TABLE pushed_alert (                 -- an alert that came through the Alertmanager API, beside its alert
    tenant_id     integer NOT NULL,
    alert_id      bigint NOT NULL,
    deployment_id integer NOT NULL,
    fingerprint   text NOT NULL,            -- of its labels as pushed, 16 hex digits
    annotations   jsonb NOT NULL,
    generator_url text NOT NULL,
    pushed_by     text NOT NULL,            -- name of the key
    updated_at    timestamptz NOT NULL,     -- the newest push
    expires_at    timestamptz,              -- over unless pushed again by then; NULL: it is over
    PRIMARY KEY (tenant_id, alert_id),
    FOREIGN KEY (tenant_id, alert_id) REFERENCES alert ON DELETE CASCADE
);
CREATE INDEX pushed_alert_expiry ON pushed_alert (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX pushed_alert_open ON pushed_alert (tenant_id, deployment_id) WHERE expires_at IS NOT NULL;

CREATE TABLE alert_note (                   -- what people said about an alert: append-only
    tenant_id integer NOT NULL,
    alert_id  bigint NOT NULL,
    note_no   bigint GENERATED ALWAYS AS IDENTITY,
    kind      text NOT NULL CHECK (kind IN ('acknowledged', 'comment')),
    at        timestamptz NOT NULL,
    author    text NOT NULL,                -- name of the key
    text      text NOT NULL,
    PRIMARY KEY (tenant_id, alert_id, note_no),
    FOREIGN KEY (tenant_id, alert_id) REFERENCES alert ON DELETE CASCADE
);

CREATE TABLE notice (                       -- a message about alerts that page nobody, to one receiver; an outbox
    notice_id    uuid PRIMARY KEY,          -- the same at every attempt: the receiver tells doubles by it
    receiver     text NOT NULL,             -- name in the settings
    document     jsonb NOT NULL,            -- what it says; shape: alerting/notices/plan.py
    created_at   timestamptz NOT NULL,
    attempts     integer NOT NULL DEFAULT 0,
    next_at      timestamptz NOT NULL,      -- of the next attempt; moved on by a claim, as its lease
    done_at      timestamptz,               -- sent or given up
    failure      text                       -- of the newest attempt; NULL: it was sent, or never tried
);
CREATE INDEX notice_due ON notice (next_at) WHERE done_at IS NULL;
CREATE INDEX notice_newest ON notice (receiver, created_at);

CREATE TABLE notice_told (                  -- which alert was told to whom, when: so that repeats are few
    receiver    text NOT NULL,
    tenant_id   integer NOT NULL,
    alert_id    bigint NOT NULL,
    at          timestamptz NOT NULL,
    ended       boolean NOT NULL,           -- told that it is over
    problem_key text NOT NULL,
    PRIMARY KEY (receiver, tenant_id, alert_id, at, ended),
    FOREIGN KEY (tenant_id, alert_id) REFERENCES alert ON DELETE CASCADE
);
CREATE INDEX notice_told_problem ON notice_told (receiver, problem_key, at);
