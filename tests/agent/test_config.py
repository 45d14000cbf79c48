"""A configuration is taken as a whole or refused as a whole, with every fault named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.checks.process import ProcessRule
from agent.config import Config, ConfigError, load_config, parse_config

BAD = Path(__file__).parent / "bad_config"
FAULTS = {
    "unknown_key": (2, "colour", "is not known; known are ca_file"),
    "twice_the_same_key": (2, "ship_every", "stands there twice"),
    "not_a_mapping": (1, "file", "must be a mapping"),
    "not_yaml": (2, "file", "is not YAML"),
    "not_utf8": (1, "file", "is not UTF-8"),
    "url_without_scheme": (1, "collector_url", "must look like https://"),
    "url_with_password": (1, "collector_url", "must not hold a user name"),
    "url_not_text": (1, "collector_url", "must be text"),
    "proxy_not_http": (1, "proxy", "must look like http://proxy"),
    "ca_file_relative": (1, "ca_file", "must be an absolute path"),
    "interval_of_unknown_check": (3, "intervals.gpu", "is no check; checks are cpu, memory"),
    "interval_zero": (2, "intervals.cpu", "must be between 1 and 3600"),
    "interval_nan": (1, "intervals.cpu", "must be"),
    "interval_text": (1, "intervals.cpu", "must be a number"),
    "disable_unknown": (1, "disable", "'gpu' is no check"),
    "disable_not_a_list": (1, "disable", "must be a list"),
    "volumes_unknown": (1, "volumes.only", "known are include, exclude"),
    "spool_unknown": (1, "spool.max_gb", "known are max_mb, max_days"),
    "spool_too_old": (1, "spool.max_days", "must be between 0.01 and 7"),
    "backoff_huge": (1, "max_backoff", "must be"),
    "log_level_unknown": (1, "log_level", "must be debug, info"),
    "process_without_name": (3, "processes[1]", "needs a name"),
    "process_unknown_key": (2, "processes[0].pattern", "known are name, match, arguments"),
    "process_twice": (1, "processes[1]", "stands there twice"),
    "process_empty": (1, "processes[0]", "must have 1 to"),
    "process_not_text": (1, "processes[0]", "must be text"),
    "recursive": (1, "disable[0]", "must be text"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named_with_file_line_and_field(name: str) -> None:
    """One bad file per fault."""
    path = BAD / f"{name}.yaml"
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    fault = caught.value.faults[0]
    line, field, message = FAULTS[name]
    assert (fault.file, fault.line, fault.field) == (str(path), line, field)
    assert message in fault.message


def test_every_bad_file_has_its_fault() -> None:
    """No fixture lies there untested."""
    assert {path.stem for path in BAD.glob("*.yaml")} == set(FAULTS)


def test_all_faults_are_told_at_once() -> None:
    """An administrator corrects a file once, not five times."""
    text = b"colour: blue\nship_every: often\ndisable: [gpu]\nspool: {max_mb: 0}\nprocesses: [{match: x}]\n"
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "agent.yaml")
    assert [fault.line for fault in caught.value.faults] == [1, 2, 3, 4, 5]


def test_the_example_in_the_module_is_good(tmp_path: Path) -> None:
    """What the documentation shows can be used."""
    import agent.config

    assert agent.config.__doc__ is not None
    example = "\n".join(
        line.removeprefix("    ") for line in agent.config.__doc__.splitlines() if line.startswith("    ")
    )
    config = parse_config(example.encode(), "example")
    assert config.processes == (
        ProcessRule("sqlservr", "sqlservr"),
        ProcessRule("portal", "w3wp*", "*portal*"),
    )
    assert config.intervals == {"cpu": 15, "volume": 60}
    assert config.volumes_include == ("/mnt/recordings",)
    assert (config.ship_every, config.spool_mb, config.max_backoff) == (60, 128, 300)


def test_a_missing_file_means_the_defaults_unless_it_was_named(tmp_path: Path) -> None:
    """A typo in --config must not silently mean 'all defaults'."""
    assert load_config(tmp_path / "none.yaml") == Config()
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "none.yaml", required=True)
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load_config(tmp_path / "empty.yaml") == Config()


def test_windows_names_are_compared_without_exe_and_case() -> None:
    """The administrator may write what Task Manager shows."""
    [rule] = parse_config(b"processes: [SqlServr.EXE]", "f").processes
    assert rule == ProcessRule("SqlServr.EXE", "sqlservr")


@given(st.text(max_size=200) | st.sampled_from(["&a [*a]", "{? [a]: b}", "!!python/object:os.system {}"]))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Never another exception."""
    try:
        parse_config(text.encode("utf-8", "replace"), "file")
    except ConfigError as refused:
        assert refused.faults  # noqa: PT017 - most texts are refused, some are good
