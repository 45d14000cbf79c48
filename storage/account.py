"""Which operating-system account PostgreSQL runs as, and which folders that account can reach.

PostgreSQL refuses to run as root. Started by root, it therefore runs as the owner of the data directory if
that is not root, else as the first of ``SERVICE_ACCOUNTS`` that exists. Started by anybody else, it runs as
that user."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.faults import UnusableDirectory

SERVICE_ACCOUNTS = ("postgres", "ucx", "nobody")
ROOT = 0


@dataclass(frozen=True)
class Account:
    """An account that is not ours, which PostgreSQL is to run as."""

    uid: int
    gid: int
    name: str


def choose(data_dir: Path) -> Account | None:
    """The account for ``data_dir``; None: run as ourselves. Raises ``UnusableDirectory``."""
    if sys.platform == "win32" or os.geteuid() != ROOT:
        return None
    if data_dir.exists() and data_dir.stat().st_uid != ROOT:
        return _owner(data_dir)
    return _service_account()


def _owner(data_dir: Path) -> Account:
    import pwd  # POSIX only

    info = data_dir.stat()
    try:
        name = pwd.getpwuid(info.st_uid).pw_name
    except KeyError:
        name = f"uid {info.st_uid}"
    shared = data_dir.parent.stat().st_mode & stat.S_IWOTH
    if shared and name not in SERVICE_ACCOUNTS:
        raise UnusableDirectory(
            f"{data_dir} lies in a folder where anybody may create files and belongs to {name}. "
            "Root does not trust it; choose another folder, or start as that user."
        )
    return Account(info.st_uid, info.st_gid, name)


def _service_account() -> Account:
    import pwd  # POSIX only

    for name in SERVICE_ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != ROOT:
            return Account(entry.pw_uid, entry.pw_gid, name)
    raise UnusableDirectory(
        "PostgreSQL refuses to run as root, and none of these accounts exists: "
        f"{', '.join(SERVICE_ACCOUNTS)}. Create one (useradd --system ucx) or start as an ordinary user."
    )


def run(
    command: Sequence[str | Path], account: Account | None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """``subprocess.run`` as ``account``, with its group and no others."""
    arguments = [str(part) for part in command]
    return subprocess.run(arguments, check=False, text=True, **as_account(account), **options)  # noqa: S603 - no shell


def as_account(account: Account | None) -> dict[str, Any]:
    """The keyword arguments that make ``subprocess`` start a program as ``account``."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def barrier(path: Path, account: Account | None) -> Path | None:
    """The first folder above ``path`` that ``account`` may not pass through; None when it can reach
    ``path``."""
    if account is None:
        return None
    return next((folder for folder in _ancestors(path) if not _may_enter(folder, account)), None)


def _ancestors(path: Path) -> Iterator[Path]:
    """Existing folders above the real ``path``, from the root down."""
    return (folder for folder in reversed(path.resolve().parents) if folder.exists())


def _may_enter(folder: Path, account: Account) -> bool:
    info = folder.stat()
    if info.st_uid == account.uid:
        return bool(info.st_mode & stat.S_IXUSR)
    if info.st_gid == account.gid:
        return bool(info.st_mode & stat.S_IXGRP)
    return bool(info.st_mode & stat.S_IXOTH)


def require_reachable(path: Path, account: Account | None) -> None:
    """Raises ``UnusableDirectory`` naming the folder in the way and the way out."""
    blocked = barrier(path, account)
    if blocked is None or account is None:
        return
    raise UnusableDirectory(
        f"PostgreSQL cannot run as root, so it runs as {account.name!r}, who may not enter {blocked} "
        f"and so cannot reach {path}. Use a data directory elsewhere (for example {fallback_dir(path)}), "
        f"or start as an ordinary user, or open the folder: chmod o+x {blocked}"
    )


def reachable_dir(wanted: Path) -> Path:
    """``wanted`` when PostgreSQL can live there, else a folder of our own in /var/tmp that is always the
    same for the same ``wanted`` and user. For composition, which says so to the user."""
    return wanted if barrier(wanted, choose(wanted)) is None else fallback_dir(wanted)


def fallback_dir(wanted: Path) -> Path:
    """Where a server goes that cannot live in ``wanted``."""
    user = os.geteuid() if sys.platform != "win32" else 0
    tag = hashlib.sha256(os.fsencode(wanted.resolve())).hexdigest()[:8]
    return Path("/var/tmp") / f"ucx-proactive-{user}-{tag}"  # noqa: S108 - made 0700, ownership is checked
