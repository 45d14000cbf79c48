"""The phone simulator's command line."""

from __future__ import annotations

import pytest

from oncall.simulator.__main__ import app


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--port", "99999"], "less than or equal to 65535"),
        (["--phone", "Anna"], "NAME=+390501234567 is needed"),
    ],
    ids=["port", "phone"],
)
def test_wrong_flags_are_answered_in_a_line(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and what is right; seen failing for the port, which ended in a server's traceback."""
    with pytest.raises(SystemExit) as ended:
        app(args=flags)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
