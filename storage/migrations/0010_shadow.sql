-- What a rule pack on trial would have done, beside the one in force. Writing room: alerting.

CREATE TABLE shadow_host (                  -- how far a pack on trial has judged each host, and its memory, kept apart
    version   integer NOT NULL REFERENCES rule_pack,
    tenant_id integer NOT NULL,
    host_id   bigint NOT NULL,
    judged_to timestamptz NOT NULL,         -- frames before this are judged
    frames    bigint NOT NULL DEFAULT 0,    -- how many that were
    state     bytea,                        -- shape: alerting/state.py
    PRIMARY KEY (version, tenant_id, host_id)
);

CREATE TABLE shadow_fired (                 -- alerts that it would have raised
    version    integer NOT NULL,
    tenant_id  integer NOT NULL,
    host_id    bigint NOT NULL,
    rule_id    text NOT NULL,
    instance   text NOT NULL,
    priority   smallint NOT NULL,           -- the most severe it reached
    started_at timestamptz NOT NULL,
    ended_at   timestamptz,                 -- NULL: it still fires
    PRIMARY KEY (version, tenant_id, host_id, rule_id, instance, started_at),
    FOREIGN KEY (version, tenant_id, host_id) REFERENCES shadow_host
);
CREATE UNIQUE INDEX shadow_fired_open ON shadow_fired (version, tenant_id, host_id, rule_id, instance)
    WHERE ended_at IS NULL;
