"""Files that only the agent's own user may read, written so that a crash leaves the old or the new one."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def write_private(path: Path, data: bytes) -> None:
    """Replace ``path``: written beside it with owner-only rights from the first byte, synced, renamed."""
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        restrict(beside)
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(path)
    sync_directory(path.parent)


if sys.platform == "win32":
    import subprocess

    def restrict(path: Path) -> None:
        """Inheritance off; the current user, SYSTEM and Administrators (by their well-known ids) only."""
        user = os.environ.get("USERNAME", "")
        grants = [f"{user}:F"] if user else []
        grants += ["*S-1-5-18:F", "*S-1-5-32-544:F"]
        command = ["icacls", str(path), "/inheritance:r", *(p for g in grants for p in ("/grant:r", g))]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - no shell, fixed program

    def exposed_to_others(path: Path) -> bool:
        """Rights were set at writing; reading them back needs more than the standard library."""
        return False

    def sync_directory(directory: Path) -> None:
        """NTFS journals the rename itself."""

else:

    def restrict(path: Path) -> None:
        """0600."""
        path.chmod(0o600)

    def exposed_to_others(path: Path) -> bool:
        """True when group or others may read or write it."""
        return bool(path.stat().st_mode & 0o077)

    def sync_directory(directory: Path) -> None:
        """Make the rename durable."""
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
