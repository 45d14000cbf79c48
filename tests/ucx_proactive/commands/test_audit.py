"""``ucx-proactive audit``: its settings file is read strictly, and every fault is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from oncall.auditor.settings import Settings
from ucx_proactive.commands import audit

GOOD = """
provider: {name: fallback, base_url: "https://api.twilio.com", auth_token: secret,
           from_number: "+15005550006", account_sid: AC00000000000000000000000000000001}
listen: {public_url: "https://auditor.example", port: 8079}
directory: /var/lib/ucx-auditor
numbers: ["+390584000009"]
heartbeat_url: "https://watchdog.example/ping/abc"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "audit.yaml"
    path.write_text(GOOD)
    return path


def test_the_documented_file_is_read(file: Path) -> None:
    """The example of the documentation is good as it stands."""
    settings = audit._settings(file)
    assert isinstance(settings, Settings)
    assert settings.directory == "/var/lib/ucx-auditor"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("numbrs: []", "numbrs"),
        ("numbers: ['12']", "numbers: '12' is not E.164"),
        ("answered_within_s: 10", "answered_within_s"),
        ("heartbeat_url: ftp://x", "heartbeat_url"),
        ("every_s: 0", "every_s"),
        ("- a list", "object"),
        ("{", "flow"),
    ],
)
def test_a_faulty_file_is_refused_with_the_field(file: Path, text: str, says: str) -> None:
    """Exit code 2 and the field; nothing is started."""
    file.write_text(text)
    ended = CliRunner().invoke(audit.app, ["--config", str(file), "--database-url", "host=nowhere"])
    assert ended.exit_code == 2
    assert says in ended.output
