"""What ``./dev test``, ``lint``, ``types`` and ``bench`` do, run by .venv's Python from the root of the tree.

The cheap stages all run, whatever fails, so that one run shows every fault; pytest runs when they pass.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
TOOLS = Path(sys.executable).parent
PACKAGES = (
    "agent",
    "wire",
    "collector",
    "alerting",
    "ticketing",
    "oncall",
    "console",
    "storage",
    "ucx_proactive",
)
CHECKED = (*PACKAGES, "tests", "benchmarks", "dev")

DEBIAN_PACKAGES = {
    "alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
    "chromium": "chromium",
    "mariadbd": "mariadb-server",
    "nginx": "nginx-light",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "sipp": "sip-tester",
}
"""Programs that a test may ask for with ``@pytest.mark.needs("...")``, and the Debian package of each."""

_APT_UPDATE_S, _APT_INSTALL_S = 120, 600


@dataclass(frozen=True)
class Stage:
    """One command whose exit status says whether the tree passes."""

    title: str
    """As the summary shows it."""
    command: tuple[str, ...]
    """Program and arguments, run in the root of the tree."""


@dataclass(frozen=True)
class Result:
    """How a stage went."""

    title: str
    passed: bool
    seconds: float


def main(arguments: Sequence[str]) -> int:
    """``test|lint|types|benchmarks [ARGUMENTS]``; returns the exit status."""
    name, *rest = arguments
    if name == "test":
        return _test(rest)
    if name == "types":
        return _summary([_run(stage) for stage in type_stages()])
    if name == "benchmarks":
        return _list_benchmarks()
    if "--fix" in rest:
        _run(_tool("format", "ruff", "format", *present()))
        _run(_tool("fix", "ruff", "check", "--fix", *present()))
    return _summary([_run(stage) for stage in lint_stages()])


WHOLE_RUN = ("-n", "2", "--dist", "loadfile", "-q")
"""Two files at a time: much of the time goes by in waiting for processes that were killed to come back."""


def _test(pytest_arguments: Sequence[str]) -> int:
    install(missing_programs(ROOT / "tests"))
    results = [_run(stage) for stage in (*lint_stages(), *type_stages())]
    if all(result.passed for result in results):
        arguments = pytest_arguments or WHOLE_RUN
        results.append(_run(_tool("tests", "python", "-m", "pytest", *arguments)))
    return _summary(results)


def _list_benchmarks() -> int:
    for path in sorted((ROOT / "benchmarks").glob("[!_]*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "(says nothing about itself)"
        print(f"{path.stem:16} {text.splitlines()[0]}")
    return 0


def lint_stages() -> list[Stage]:
    """Style, format and import rules."""
    return [
        _tool("lint", "ruff", "check", "--quiet", *present()),
        _tool("format", "ruff", "format", "--check", "--quiet", *present()),
        _tool("import rules", "lint-imports"),
    ]


def type_stages() -> list[Stage]:
    """Strict types, and the agent's once more as on Windows."""
    return [
        _tool("types", "mypy", "--no-error-summary", *present()),
        _tool("types, agent on Windows", "mypy", "--no-error-summary", "--platform=win32", "agent", "wire"),
    ]


def _tool(title: str, program: str, *arguments: str) -> Stage:
    return Stage(title, (str(TOOLS / program), *arguments))


def present() -> list[str]:
    """The parts of the tree that hold Python files (mypy refuses to be given none)."""
    return [name for name in CHECKED if (ROOT / name).is_file() or any((ROOT / name).rglob("*.py"))]


def _run(stage: Stage) -> Result:
    print(f"\n== {stage.title}", flush=True)
    begin = time.monotonic()
    passed = subprocess.call(stage.command, cwd=ROOT) == 0
    return Result(stage.title, passed, time.monotonic() - begin)


def _summary(results: Sequence[Result]) -> int:
    print()
    for result in results:
        print(f"{'ok' if result.passed else 'FAIL':4} {result.title:26} {result.seconds:6.1f} s")
    failed = [result.title for result in results if not result.passed]
    print(f"failed: {', '.join(failed)}" if failed else "all passed", flush=True)
    return 1 if failed else 0


def missing_programs(tests: Path) -> list[str]:
    """Programs that tests ask for by their marker and that are not on the PATH."""
    return sorted(
        {program for program in _asked_for(tests) if program in DEBIAN_PACKAGES and not shutil.which(program)}
    )


def _asked_for(tests: Path) -> Iterator[str]:
    for path in tests.rglob("test_*.py"):
        for arguments in re.findall(r"mark\.needs\(([^)]*)\)", path.read_text(encoding="utf-8")):
            yield from re.findall(r"\"([a-z0-9-]+)\"", arguments)


def install(programs: Sequence[str]) -> None:
    """Installs the programs' packages as root on Debian; else, or if that fails, says what is skipped."""
    if not programs:
        return
    if os.name == "nt" or os.geteuid() != 0 or not shutil.which("apt-get"):
        print(f"Not installed, and only root on Debian can: {', '.join(programs)}. Their tests are skipped.")
        return
    _apt(("update",), _APT_UPDATE_S)
    for package in sorted({DEBIAN_PACKAGES[program] for program in programs}):
        print(f"Installing {package}, which tests ask for", flush=True)
        problem = _apt(("install", "-y", "--no-install-recommends", package), _APT_INSTALL_S)
        if problem:
            print(f"{package} could not be installed ({problem}). Its tests are skipped.", flush=True)


def _apt(arguments: Sequence[str], limit_s: float) -> str:
    """Runs apt-get without questions; returns what went wrong, or nothing."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}  # 1: start no daemons
    command = ("apt-get", "-q", "-o", "DPkg::Lock::Timeout=60", *arguments)
    try:
        done = subprocess.run(
            command, env=environment, timeout=limit_s, capture_output=True, text=True, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no end after {limit_s:.0f} s"
    last_words = (done.stderr or done.stdout).strip().splitlines()[-1:]
    return " ".join(last_words) or f"status {done.returncode}" if done.returncode else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
