"""Which machine this is: by it a state directory that was copied to another one is noticed.

The system's own identifier (/etc/machine-id, Windows' MachineGuid), hashed; it stays on this host. Clones
that were not made anew share it: those the collector notices, by two agents that speak in turn.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


def fingerprint(files: tuple[Path, ...] = _FILES) -> str:
    """16 hex digits; empty when the system does not say."""
    name = _system_name(files)
    return hashlib.sha256(b"ucx-agent machine " + name.encode()).hexdigest()[:16] if name else ""


def is_another(known: str, now: str) -> bool:
    """True when both are known and differ."""
    return bool(known and now and known != now)


if sys.platform == "win32":
    import winreg

    def _system_name(files: tuple[Path, ...]) -> str:
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"SOFTWARE\Microsoft\Cryptography") as key:
                return str(winreg.QueryValueEx(key, "MachineGuid")[0])
        except OSError:
            return ""

else:

    def _system_name(files: tuple[Path, ...]) -> str:
        for path in files:
            try:
                if found := path.read_text("ascii", "replace").strip():
                    return found
            except OSError:
                continue
        return ""
