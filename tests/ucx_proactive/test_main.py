"""``ucx-proactive``: finds its commands, says what it does not know."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ucx_proactive.main import COMMANDS, main, usage


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_exists_and_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every name in the list leads to a module with an ``app`` that answers ``--help``."""
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code in (0, None)
    assert "Usage" in capsys.readouterr().out


def test_without_words_it_shows_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    """And ends with 2, as a misuse does; asked for help it ends with 0."""
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.count(usage()) == 2


def test_a_slip_of_the_finger_is_answered_with_what_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest command is named."""
    with pytest.raises(SystemExit) as ended:
        main(["srve"])
    assert ended.value.code == 2
    assert "Did you mean 'serve'?" in capsys.readouterr().err


def test_help_loads_no_command() -> None:
    """The list is answered without importing a framework."""
    code = (
        "import sys, contextlib\nfrom ucx_proactive.main import main\n"
        "with contextlib.suppress(SystemExit): main(['--help'])\n"
        "print({'fastapi', 'psycopg', 'typer'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_faulty_settings_end_serve_with_all_faults(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2 and a line per fault, no traceback."""
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--port", "70000", "--roles", "cook,desk"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "port:" in said
    assert "roles.0:" in said
