"""The rules that are shipped, as data: the default pack, its schema, and what it waits for."""
