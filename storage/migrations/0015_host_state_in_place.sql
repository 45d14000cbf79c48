-- Each commit writes a host's state with a new last_seen. An index on it made every such write a new entry in every
-- index of the table; without it the row is rewritten within its page (fillfactor 50 keeps room), and nothing else.
-- The sweep reads the whole table instead, a row per host, every 15 seconds.
DROP INDEX IF EXISTS host_state_silence;
