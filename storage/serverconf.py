"""The embedded server's settings, as the text of ``server.conf``.

Durable by default: what PostgreSQL has committed is on the disk. Small by default: it shares a machine with
us."""

from __future__ import annotations

import sys
from collections.abc import Mapping

DEFAULTS: Mapping[str, str] = {
    # Durability: the promise that no acknowledged sample is lost rests on these three.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "wal_compression": "on",
    "max_wal_size": "1GB",
    # Size: a demo or a small site.
    "max_connections": "100",
    "shared_buffers": "64MB",
    "jit": "off",
    # A client that hangs inside a transaction would hold its host locks for ever.
    "idle_in_transaction_session_timeout": "5min",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    # Log: files of at most 10 MB, which we thin out (see storage/serverlog.py).
    "log_timezone": "UTC",
    "logging_collector": "on",
    "log_directory": "../log",
    "log_filename": "postgresql-%Y%m%dT%H%M%S.log",
    "log_rotation_size": "10MB",
    "log_rotation_age": "1d",
    "log_line_prefix": "%m [%p] %q%a ",
    "log_checkpoints": "off",
    "log_lock_waits": "on",
    "log_min_duration_statement": "2s",
    "log_parameter_max_length": "256",
}

FAST_AND_FORGETFUL: Mapping[str, str] = {
    # For tests that never ask what survives a crash.
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum": "off",
}

_POSIX_ONLY = {
    # Files in pgdata instead of /dev/shm: nothing outside our directory, and containers keep /dev/shm tiny.
    "dynamic_shared_memory_type": "mmap",
}


def endpoint(socket_dir: str | None, port: int) -> dict[str, str]:
    """The settings of where it listens: in ``socket_dir`` alone, or (None) on 127.0.0.1 alone."""
    if socket_dir is None:
        return {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "port": str(port)}
    return {"listen_addresses": "", "unix_socket_directories": socket_dir, "port": str(port)}


def render(*layers: Mapping[str, str]) -> str:
    """``server.conf`` of the defaults under ``layers``; a later layer wins."""
    values = dict(DEFAULTS)
    if sys.platform != "win32":
        values.update(_POSIX_ONLY)
    for layer in layers:
        values.update(layer)
    lines = [f"{name} = {_quoted(value)}" for name, value in sorted(values.items())]
    return "\n".join(["# Written at every start; changes here are lost.", *lines, ""])


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"
