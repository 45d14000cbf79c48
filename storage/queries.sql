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
