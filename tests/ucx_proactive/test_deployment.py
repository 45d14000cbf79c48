"""The units that an administrator installs on our side: tight, understood by systemd, documented."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ucx_proactive.commands import audit, oncall

ROOT = Path(__file__).parents[2]
SERVICES = ["ucx-proactive.service", "ucx-auditor.service", "ucx-synthetic.service"]
UNITS = [*SERVICES, "ucx-synthetic.timer"]


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("unit", SERVICES)
def test_the_sandbox_is_tight(unit: str) -> None:
    """systemd's own judgement: below 2.0 of 10, without a running systemd."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20"]
    judged = subprocess.run(
        [*command, str(ROOT / "deploy" / unit)], capture_output=True, text=True, check=False
    )
    assert judged.returncode == 0, judged.stdout
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", judged.stdout)
    assert exposure is not None
    assert float(exposure[1]) < 2.0


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_every_line(unit: str) -> None:
    """But for the program, which is not installed here, it has nothing to say."""
    command = ["systemd-analyze", "verify", "--man=no", str(ROOT / "deploy" / unit)]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    own = [line for line in told.splitlines() if "ucx-" in line]
    assert [line for line in own if "is not executable" not in line] == []


@pytest.mark.needs("systemd-analyze")
def test_the_timer_runs_once_a_day() -> None:
    """Often enough for the auditor's 26 hours, also with its random delay."""
    text = (ROOT / "deploy" / "ucx-synthetic.timer").read_text(encoding="utf-8")
    calendar = next(line.partition("=")[2] for line in text.splitlines() if line.startswith("OnCalendar="))
    shown = subprocess.run(
        ["systemd-analyze", "calendar", "--iterations=2", calendar],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert len(re.findall(r"07:23:00", shown)) >= 3
    assert "Persistent=true" in text


@pytest.mark.parametrize("unit", UNITS)
def test_the_operations_page_says_how_to_install_it(unit: str) -> None:
    """None is left for the reader to find."""
    assert unit in (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_the_commands_of_the_units_exist_with_these_options() -> None:
    """A unit that calls what we do not have would fail at night."""
    words = (ROOT / "deploy" / "ucx-synthetic.service").read_text(encoding="utf-8")
    helped = CliRunner().invoke(oncall.app, ["synthetic", "--help"], env={"COLUMNS": "200"}).output
    line = next(line for line in words.splitlines() if line.startswith("ExecStart="))
    options = re.findall(r"--[a-z-]+", line)
    assert options
    assert [option for option in options if option not in helped] == []
    assert "--config" in CliRunner().invoke(audit.app, ["--help"], env={"COLUMNS": "200"}).output
