-- What live series there are, and how upkeep's own jobs fare. Writing rooms: collector (host_layout, host_series),
-- storage (upkeep_job).

ALTER TABLE host_layout ADD COLUMN aged_at timestamptz;  -- since when its series do not count; NULL: they do

CREATE TABLE host_series (                  -- how many live series a host has: what limits are held against
    tenant_id  integer NOT NULL,
    host_id    bigint NOT NULL,
    live       integer NOT NULL DEFAULT 0,  -- distinct series of its layouts that are not aged
    counted_at timestamptz NOT NULL DEFAULT '-infinity',  -- by the census; the oldest is counted next
    PRIMARY KEY (tenant_id, host_id),
    FOREIGN KEY (tenant_id, host_id) REFERENCES host
);
CREATE INDEX host_series_due ON host_series (counted_at);

CREATE TABLE upkeep_job (                   -- one row per job and table: how its newest round went
    job           text NOT NULL,            -- ensure, drop, pack, expire ...
    subject       text NOT NULL,            -- the table that it keeps
    ran_at        timestamptz NOT NULL,     -- start of the newest round
    well_at       timestamptz,              -- start of the newest round in which nothing failed
    failing_since timestamptz,              -- start of the first of the rounds that failed in a row; NULL: it is well
    failures      integer NOT NULL DEFAULT 0,  -- rounds that failed in a row
    error         text,                     -- of the newest failure, readable
    PRIMARY KEY (job, subject)
);
