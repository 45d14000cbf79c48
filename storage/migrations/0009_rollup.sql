-- Rollups: what a long chart reads instead of frames. Writing room: collector.
--
-- One row sums up one layout of one host over 5 minutes or an hour, arrays in layout order as in frame. Their arrays
-- are stored plain: a row of 200 series fits a page, and nothing is compressed or moved out of line to be read
-- back 700 times per chart.

CREATE TABLE rollup_five (
    tenant_id integer NOT NULL,
    host_id   bigint NOT NULL,
    layout_id bigint NOT NULL,
    time      timestamptz NOT NULL,         -- start of the bucket
    mins      float8[] NOT NULL,            -- NULL: no value in the bucket
    maxs      float8[] NOT NULL,
    sums      float8[] NOT NULL,
    counts    integer[] NOT NULL,
    lasts     float8[] NOT NULL,            -- the newest value in the bucket
    PRIMARY KEY (tenant_id, host_id, layout_id, time)
) PARTITION BY RANGE (time);
ALTER TABLE rollup_five ALTER mins SET STORAGE PLAIN, ALTER maxs SET STORAGE PLAIN, ALTER sums SET STORAGE PLAIN,
                        ALTER counts SET STORAGE PLAIN, ALTER lasts SET STORAGE PLAIN;

CREATE TABLE rollup_hour (LIKE rollup_five INCLUDING STORAGE, PRIMARY KEY (tenant_id, host_id, layout_id, time))
    PARTITION BY RANGE (time);

-- How far the rollups have come: every bucket in [since, until) is complete, but for what is marked below.
CREATE TABLE rollup_progress (
    span_s integer PRIMARY KEY,             -- 300 or 3600
    since  timestamptz NOT NULL,
    until  timestamptz NOT NULL CHECK (until >= since)
);

-- Late data: written in the ingest commit when a frame falls into a bucket that may be rolled up already. Rows are
-- only added and deleted, so that neither side ever waits for the other or hides a mark from it.
CREATE TABLE rollup_mark (
    tenant_id integer NOT NULL,
    mark_id   bigint GENERATED ALWAYS AS IDENTITY,
    host_id   bigint NOT NULL,
    layout_id bigint NOT NULL,
    time      timestamptz NOT NULL,         -- start of the 5-minute bucket
    PRIMARY KEY (tenant_id, mark_id)
);
