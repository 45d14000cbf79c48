-- Keys that agents have replaced, and who speaks under an agent's identity. Writing room: collector.

ALTER TABLE agent ADD COLUMN key_since timestamptz;  -- when public_key replaced another; NULL: it is the first

CREATE TABLE agent_key (                    -- replaced keys: accepted until they retire, kept as history
    tenant_id   integer NOT NULL,
    agent_id    uuid NOT NULL,
    public_key  bytea NOT NULL,             -- Ed25519, 32 bytes
    replaced_at timestamptz NOT NULL,
    retires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, agent_id, public_key),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agent
);

-- Each start of an agent's program has a random name. One that comes back after another has spoken shows that
-- two programs use one identity: a cloned machine.
CREATE TABLE agent_run (
    tenant_id  integer NOT NULL,
    agent_id   uuid NOT NULL,
    run        text NOT NULL,               -- who spoke last
    since      timestamptz NOT NULL,
    former     text[] NOT NULL DEFAULT '{}',  -- who spoke before, newest first, a few
    returns    integer NOT NULL DEFAULT 0,  -- how often a former one spoke again
    returned_at timestamptz,                -- when that was seen last
    PRIMARY KEY (tenant_id, agent_id),
    FOREIGN KEY (tenant_id, agent_id) REFERENCES agent
);

CREATE INDEX agent_of_host ON agent (tenant_id, host_id);  -- who spoke for a host before
COMMENT ON COLUMN frame.time IS 'The host''s clock as sent; the collector''s where the host''s was more than 30 s off';
