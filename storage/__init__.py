"""PostgreSQL: pool, named queries, migrations, the embedded server, partitions. Imports nothing of ours."""
