"""What an administrator installs and reads: the unit's sandbox, the pages."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from agent.config import _FIELDS
from agent.enrol import facts
from agent.events import redact

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "ucx-agent.service"


@pytest.mark.needs("systemd-analyze")
def test_the_sandbox_is_tight() -> None:
    """systemd's own judgement: below 2.0 of 10, without a running systemd."""
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", str(UNIT)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout
    exposure = re.search(r"exposure level for \S+: ([\d.]+)", judged.stdout)
    assert exposure is not None
    assert float(exposure[1]) < 2.0
    told = json.loads(subprocess.run([*command, "--json=short"], capture_output=True, check=False).stdout)
    assert told, "every setting is understood"


def test_the_documentation_names_every_key_of_the_configuration() -> None:
    """None is secret, none is only in the code."""
    page = (ROOT / "docs" / "agent.md").read_text(encoding="utf-8")
    assert [key for key in _FIELDS if f"`{key}`" not in page] == []


def test_the_privacy_page_names_what_is_sent_and_what_is_removed() -> None:
    """Enrolment's facts, the requests' headers, every kind of redaction."""
    page = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
    shipper = (ROOT / "agent" / "shipper.py").read_text(encoding="utf-8")
    kinds = set(re.findall(r"\[[a-z]+\](?=\"|@|\Z)", Path(redact.__file__).read_text(encoding="utf-8")))
    assert {"[number]", "[mail]", "[secret]", "[user]", "[iban]", "[ip]"} <= kinds
    for word in (*facts("1"), "Authorization", "UCX-Sent-At", "User-Agent", *kinds):
        assert f"`{word}`" in page, word
    assert set(re.findall(r'"(UCX-[\w-]+)"', shipper)) == {"UCX-Sent-At"}
