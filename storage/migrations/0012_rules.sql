-- Rules on the states of other rules' alerts. Writing room: alerting.

CREATE TABLE deployment_state (             -- what these rules remember of a deployment; written under its hosts' locks
    tenant_id     integer NOT NULL,
    deployment_id integer NOT NULL,
    own_alerts    text[] NOT NULL,          -- rules whose alert is the deployment's: the sweep of silences leaves those
    state         bytea NOT NULL,           -- shape: alerting/compound.py
    PRIMARY KEY (tenant_id, deployment_id),
    FOREIGN KEY (tenant_id, deployment_id) REFERENCES deployment
);

-- What an alert needs to be told in any language; NULL: an older release wrote it, and it is told in English.
ALTER TABLE alert ADD COLUMN unit text;                  -- in which its value is shown; '' = a plain number
ALTER TABLE alert ADD COLUMN pack_version integer;       -- rule pack whose texts its summary was made of
-- Written by ticketing: the title as it was at opening, by language; without English, which is the title itself.
ALTER TABLE ticket ADD COLUMN titles jsonb NOT NULL DEFAULT '{}';

-- A pack on trial respects silences and maintenance, and is told of receipts.
ALTER TABLE shadow_fired ADD COLUMN muted text;          -- why nobody would have been bothered; NULL: somebody would
ALTER TABLE shadow_fired ADD COLUMN told_at timestamptz; -- when a mute ended while it fired; NULL: at its beginning
ALTER TABLE shadow_host ADD COLUMN heard_at timestamptz; -- newest receipt that the trial knows of
ALTER TABLE shadow_host ADD COLUMN silent boolean NOT NULL DEFAULT false;  -- it counts the host as silent
