"""Files that only the agent's own user may read, written so that a crash leaves the old or the new one."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def write_private(path: Path, data: bytes) -> None:
    """Replace ``path``: written beside it with owner-only rights from the first byte, synced, renamed."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    binary = getattr(os, "O_BINARY", 0)  # on Windows alone: there a newline would become two bytes
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | binary, 0o600)
    try:
        restrict(beside)
        give_to_owner(beside)
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    replace_file(beside, path)
    sync_directory(path.parent)


if sys.platform == "win32":
    import time

    from agent.windows import acl

    _TRIES = 20
    _BETWEEN_TRIES_S = 0.05

    def replace_file(beside: Path, path: Path) -> None:
        """Rename over what is there. That fails while anybody (a virus scanner, ``doctor``) has it open: then
        it is tried again for a moment; raises OSError after that."""
        for _ in range(_TRIES - 1):
            try:
                beside.replace(path)
            except PermissionError:
                time.sleep(_BETWEEN_TRIES_S)
            else:
                return
        beside.replace(path)

    def close_directory(path: Path) -> None:
        """The system, administrators, the service and whoever runs this only, there and below."""
        acl.close_directory(path)

    def restrict(path: Path) -> None:
        """The system, administrators, the service and the current user only; nothing is inherited."""
        acl.protect_file(path)

    def give_to_owner(path: Path) -> None:
        """The rights name all who run the agent here."""

    def exposed_to_others(path: Path) -> bool:
        """True when its access list lets anybody else in."""
        return bool(acl.outsiders(path))

    def how_to_close(path: Path) -> str:
        """What the administrator can do about it."""
        return "Run: ucx-agent service install (it closes the directory), then: ucx-agent enrol --again"

    def sync_directory(directory: Path) -> None:
        """NTFS journals the rename itself."""

else:

    def replace_file(beside: Path, path: Path) -> None:
        """Rename over what is there."""
        beside.replace(path)

    def close_directory(path: Path) -> None:
        """0700."""
        path.chmod(0o700)

    def restrict(path: Path) -> None:
        """0600."""
        path.chmod(0o600)

    def give_to_owner(path: Path) -> None:
        """A command that root runs must leave files that the agent's own user can read."""
        if os.geteuid() == 0:
            owner = path.parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid)

    def exposed_to_others(path: Path) -> bool:
        """True when group or others may read or write it."""
        return bool(path.stat().st_mode & 0o077)

    def how_to_close(path: Path) -> str:
        """What the administrator can do about it."""
        return f"Run: chmod 600 {path}"

    def sync_directory(directory: Path) -> None:
        """Make the rename durable."""
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
