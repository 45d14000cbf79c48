"""Settings: flags before environment before file before defaults; strict, and all faults at once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml

from ucx_proactive.settings import ROLES, BadSettings, Settings, load
from ucx_proactive.settings_text import settings_text


def test_defaults_are_enough() -> None:
    """Without any source there is a process that works."""
    settings, rooms = load({}, environment={})
    assert settings.roles == ROLES
    assert rooms.oncall.public_url == settings.url() == "http://127.0.0.1:8080"


def test_the_nearer_source_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """File < environment < flags, field by field."""
    file = tmp_path / "ucx.yaml"
    file.write_text(
        "port: 1001\nhost: 127.0.0.2\nlog_level: debug\ncollector:\n  committers: 3\n  linger_s: 0.5\n"
    )
    monkeypatch.setenv("UCX_PORT", "1002")
    monkeypatch.setenv("UCX_HOST", "127.0.0.3")
    monkeypatch.setenv("UCX_COLLECTOR__LINGER_S", "0.25")
    settings, rooms = load({"port": 1003}, file=file)
    assert (settings.port, settings.host, settings.log_level) == (1003, "127.0.0.3", "debug")
    assert (rooms.collector.committers, rooms.collector.linger_s) == (3, 0.25)


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    """Flags, file, sections and environment: one run names them all, each with its field."""
    file = tmp_path / "ucx.yaml"
    file.write_text("prot: 80\nlog_level: loud\n")
    with pytest.raises(BadSettings) as refused:
        load({"port": 99_999}, file=file, environment={"UCX_PROT": "1", "UCX_AGENT_X": "not ours"})
    said = "\n".join(refused.value.faults)
    for field in ("UCX_PROT", "port:", "prot:", "log_level:"):
        assert field in said
    assert "UCX_AGENT_X" not in said


def test_faults_in_sections_are_reported_together(tmp_path: Path) -> None:
    """A room's settings: unknown names and wrong values, each with its path."""
    file = tmp_path / "ucx.yaml"
    file.write_text("collector:\n  committers: 0\n  queue: 5\nalerting:\n  sweep_interval_s: often\n")
    with pytest.raises(BadSettings) as refused:
        load({}, file=file, environment={})
    fields = [fault.split(":")[0] for fault in refused.value.faults]
    assert fields == ["collector.committers", "collector.queue", "alerting.sweep_interval_s"]


@pytest.mark.parametrize(
    ("text", "said"),
    {"[1, 2]": "mapping", "a: [": "not YAML", "1: x": "mapping", "\x00": "not YAML"}.items(),
)
def test_a_file_that_is_none(tmp_path: Path, text: str, said: str) -> None:
    """What is no settings file is said with its name."""
    file = tmp_path / "ucx.yaml"
    file.write_text(text)
    with pytest.raises(BadSettings, match=said) as refused:
        load({}, file=file, environment={})
    assert str(file) in str(refused.value)


def test_faults_of_a_file_say_where_and_what_there_is(tmp_path: Path) -> None:
    """Broken YAML in one line with its number, an unknown setting with those that there are, a URL that names
    no database without repeating it. Seen failing with the libraries' own words."""
    file = tmp_path / "ucx.yaml"
    said = {
        "port: 1\nhost: [a\nroles: b\n": ("ucx.yaml:3: not YAML: expected",),
        "prot: 1\n": ("prot: unknown; known are alerting, ",),
        "database_url: http://user:hidden@host/\n": ("database_url: is no database's URL",),
        "read_database_url: ''\n": ("read_database_url: is no database's URL",),
    }
    for text, words in said.items():
        file.write_text(text)
        with pytest.raises(BadSettings) as refused:
            load({}, file=file, environment={})
        assert len(refused.value.faults) == 1
        assert all(word in refused.value.faults[0] for word in words)
        assert "hidden" not in str(refused.value)
        assert len(refused.value.faults[0].splitlines()) == 1


def test_a_missing_file_is_a_fault(tmp_path: Path) -> None:
    """A file that was named must be there."""
    with pytest.raises(BadSettings, match="No such file"):
        load({}, file=tmp_path / "none.yaml", environment={})


def test_the_database_password_is_not_shown() -> None:
    """Neither in a representation nor in a dump."""
    settings, _ = load({"database_url": "postgresql://u:secret@h/d"}, environment={})
    assert "secret" not in repr(settings)
    assert "secret" not in str(settings.model_dump())


def test_the_printed_settings_are_all_settings_with_their_defaults(tmp_path: Path) -> None:
    """Uncommented as a whole, the document is every setting of every room, and changes none of them."""
    written = tmp_path / "serve.yaml"
    written.write_text("".join(f"{line[3:]}\n" for line in settings_text().splitlines() if line[:3] == "#: "))
    document = yaml.safe_load(written.read_text())
    assert document.keys() == Settings.model_fields.keys()
    for room in ("collector", "alerting", "ticketing", "oncall"):
        kind = type(getattr(load({}, environment={})[1], room))
        assert document[room].keys() == {field.encode_name for field in msgspec.structs.fields(kind)}
    assert load({}, file=written, environment={})[1] == load({}, environment={})[1]


def test_the_printed_settings_change_nothing_as_they_are(tmp_path: Path) -> None:
    """What is not uncommented is a comment."""
    file = tmp_path / "serve.yaml"
    file.write_text(settings_text())
    as_printed, without = load({}, file=file, environment={}), load({}, environment={})
    assert as_printed[0].model_dump() == without[0].model_dump()
    assert as_printed[1] == without[1]
