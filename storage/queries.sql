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
