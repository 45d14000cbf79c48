-- Queries of storage/partition.py.

-- name: partitions
-- All tables attached to a table, and whether their detaching was begun and not finished.
SELECT child.relname, link.inhdetachpending
FROM pg_inherits AS link
JOIN pg_class AS child ON child.oid = link.inhrelid
WHERE link.inhparent = to_regclass(%(table)s)
ORDER BY child.relname;

-- name: detached
-- Tables that look like partitions of a table and are attached to nothing: a drop that was interrupted.
SELECT class.relname
FROM pg_class AS class
JOIN pg_class AS parent ON parent.oid = to_regclass(%(table)s) AND parent.relnamespace = class.relnamespace
WHERE class.relkind = 'r' AND NOT class.relispartition AND class.relname ~ ('^' || %(table)s || '_[0-9]{8}$')
ORDER BY class.relname;

-- name: lock_partitions
-- Lets one session at a time change the partitions of a table; ends with the transaction.
SELECT pg_advisory_xact_lock(hashtext('partitions'), hashtext(%(table)s));

-- name: database_size
-- The server, the database's size, and its log's where this account may see it.
SELECT version(), pg_database_size(current_database()),
       CASE WHEN pg_has_role('pg_monitor', 'usage') THEN (SELECT sum(size)::bigint FROM pg_ls_waldir()) END;

-- name: table_sizes
-- Rows (estimated) and bytes of each table, its partitions included.
SELECT root.relname, sum(greatest(part.reltuples, 0))::bigint,
       sum(pg_table_size(part.oid))::bigint, sum(pg_indexes_size(part.oid))::bigint,
       array_remove(array_agg(CASE WHEN part.oid <> root.oid THEN part.relname::text END), NULL)
FROM pg_class AS root
JOIN LATERAL (SELECT relid FROM pg_partition_tree(root.oid) UNION SELECT root.oid) AS tree ON true
JOIN pg_class AS part ON part.oid = tree.relid AND part.relkind = 'r'
WHERE root.relnamespace = 'public'::regnamespace AND root.relkind IN ('r', 'p') AND NOT root.relispartition
GROUP BY root.oid, root.relname;

-- name: table_kind
-- Whether a table is partitioned, has partitions, and whether TimescaleDB is offered and installed here.
SELECT relkind = 'p', EXISTS (SELECT FROM pg_inherits WHERE inhparent = class.oid),
       EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb'),
       EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')
FROM pg_class AS class WHERE oid = to_regclass(%(table)s);

-- name: is_hypertable
-- Whether TimescaleDB keeps a table.
SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
               WHERE hypertable_schema = 'public' AND hypertable_name = %(table)s);

-- name: make_hypertable
-- Chunks of a day; our own keys are its indexes.
SELECT create_hypertable(%(table)s::regclass, by_range('time', interval '1 day'), create_default_indexes => false);

-- name: has_layout
-- Whether a table's rows are in layouts.
SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = to_regclass(%(table)s) AND attname = 'layout_id');

-- name: timescale_edition
-- Version of the installed extension (NULL: none) and its licence: 'timescale' has the columnstore, 'apache' has not.
SELECT (SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'),
       current_setting('timescaledb.license', true);

-- name: drop_chunks
-- Removes the chunks that lie wholly before a time.
SELECT drop_chunks(%(table)s::regclass, older_than => %(before)s::timestamptz);

-- name: chunks_before
-- Chunks wholly before a time, oldest first.
SELECT chunk_name::text, range_end FROM timescaledb_information.chunks
WHERE hypertable_schema = 'public' AND hypertable_name = %(table)s AND range_end <= %(before)s::timestamptz
ORDER BY range_start;

-- name: chunks_to_pack
-- Chunks wholly before a time that are not packed, or have got late rows since.
SELECT format('%%I.%%I', chunk_schema, chunk_name) FROM timescaledb_information.chunks
WHERE hypertable_schema = 'public' AND hypertable_name = %(table)s AND NOT is_compressed
  AND range_end <= %(before)s::timestamptz
ORDER BY range_start;

-- name: pack_chunk
-- Turns one chunk into columns.
CALL convert_to_columnstore(%(chunk)s::regclass);


-- name: note_job
-- How a job's newest round went; a failure counts from the first one in a row.
INSERT INTO upkeep_job AS j (job, subject, ran_at, well_at, failing_since, failures, error)
VALUES (%(job)s, %(subject)s, %(now)s, CASE WHEN %(error)s::text IS NULL THEN %(now)s END,
        CASE WHEN %(error)s::text IS NOT NULL THEN %(now)s END, (%(error)s::text IS NOT NULL)::int, %(error)s)
ON CONFLICT (job, subject) DO UPDATE SET
    ran_at = EXCLUDED.ran_at,
    well_at = coalesce(EXCLUDED.well_at, j.well_at),
    failing_since = CASE WHEN EXCLUDED.error IS NOT NULL THEN coalesce(j.failing_since, EXCLUDED.ran_at) END,
    failures = CASE WHEN EXCLUDED.error IS NULL THEN 0 ELSE j.failures + 1 END,
    error = EXCLUDED.error
RETURNING failures;

-- name: failing_jobs
-- Jobs that failed several rounds in a row and for a while (each collector has rounds of its own), longest first.
SELECT job, subject, failing_since, failures, error FROM upkeep_job
WHERE failures >= %(at_least)s AND ran_at >= failing_since + make_interval(secs => %(for_s)s)
ORDER BY failing_since, job, subject;

-- name: replica_state
-- Whether this server is a replica, the time of the newest commit that it has replayed, and its time now.
SELECT pg_is_in_recovery(), pg_last_xact_replay_timestamp(), clock_timestamp();
