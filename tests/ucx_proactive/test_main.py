"""``ucx-proactive``: finds its commands, says what it does not know."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


def helped(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command's ``--help`` says."""
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code in (0, None)
    return capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_offers_what_does_not_work(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Completion is of whole programs: a command's own would be installed under a name that none has.

    Seen failing with oncall and maintenance, which offered it."""
    assert "completion" not in helped(capsys, name)


def test_help_shows_defaults_in_brackets_and_no_frames(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that a markup language would take for its own: seen failing with frames, which ate them."""
    monkeypatch.setenv("COLUMNS", "80")
    text = helped(capsys, "serve")
    assert "Where our own database lives. [ucx-data]" in text
    assert "[all]" in text
    assert "\u2502" not in text


def test_help_fills_its_lines_whatever_the_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line ends of the source are not those of the terminal, and no list of commands is cut off: seen
    failing with either."""
    monkeypatch.setenv("COLUMNS", "80")
    text = helped(capsys, "migrate")
    assert max(map(len, text.splitlines())) <= 80
    assert "does the same at its start" in text
    listed = helped(capsys, "oncall")
    assert "looked through for gaps." in " ".join(listed.split())
    assert "..." not in listed.partition("Commands:")[2]


@pytest.mark.parametrize(
    "words", ["migrate", "api-key list", "agent list", "backup b", "oncall paging status"]
)
def test_what_names_no_database_is_refused_at_once(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A line that shows how such a URL looks, exit code 2, no traceback - and not the text: it may hold a
    password. Seen failing without the check: a traceback, or ten seconds of a pool's tries."""
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), "--database-url", "http://user:hidden@host/"])
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "it looks like postgresql://" in said
    assert "hidden" not in said


def test_a_database_that_is_not_there_is_told_once_and_why(capfd: pytest.CaptureFixture[str]) -> None:
    """Seen failing when only the pool asked: ten seconds of its complaints, then no reason."""
    with pytest.raises(SystemExit) as ended:
        main(["agent", "list", "--database-url", "postgresql://nobody@127.0.0.1:1/none"])
    assert ended.value.code == 1
    said = capfd.readouterr().err
    assert said.count("refused") == 1
    assert "pool" not in said


def test_a_data_directory_that_is_none_is_said_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Seen failing when clearing up found no folder either and spoke last."""
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--data-dir", "/dev/null"])
    assert ended.value.code == 1
    assert "choose another data directory" in capsys.readouterr().err


def test_the_auditor_refuses_what_names_no_database_and_no_level(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At its start: later it would take the first for a database out of reach, and ring people for it. Seen
    failing without the checks, the second with a traceback."""
    file = tmp_path / "audit.yaml"
    file.write_text(f"directory: {tmp_path}/auditor")
    for flag, value in (("--database-url", "nonsense"), ("--log-level", "loud")):
        with pytest.raises(SystemExit) as ended:
            main(["audit", "--config", str(file), flag, value])
        assert ended.value.code == 2
        assert f"Invalid value for '{flag}'" in capsys.readouterr().err
    assert not (tmp_path / "auditor").exists()
