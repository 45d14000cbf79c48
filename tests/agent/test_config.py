"""A configuration is taken as a whole or refused as a whole, with every fault named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.checks.process import ProcessRule
from agent.checks.service import ServiceRule
from agent.config import Config, ConfigError, load_config, parse_config
from agent.databases import DatabaseRule
from agent.events.winlog import Channel
from agent.selection import _configured, make_feeds

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
    "service_class_unknown": (2, "services[0].class", "must be one of core, other"),
    "probe_url_not_http": (1, "probes[0].url", "must look like https://"),
    "probe_without_name": (1, "probes[0]", "needs 'name'"),
    "probe_twice": (1, "probes[1]", "stands there twice"),
    "storage_path_relative": (1, "storage[0].path", "must be an absolute path"),
    "storage_write_not_a_flag": (1, "storage[0].write", "must be true or false"),
    "database_engine_unknown": (1, "databases[0].engine", "must be one of postgresql"),
    "database_instance_of_postgresql": (1, "databases[0].instance", "is for the engine mssql only"),
    "database_without_user": (1, "databases[0].user", "is needed"),
    "database_instance_with_port": (1, "databases[0].instance", "leave out port"),
    "database_unverified_far_away": (1, "databases[0].tls", "for this very host only"),
    "database_unverified_with_roots": (1, "databases[0].ca_file", "says nothing unless tls is trusted"),
    "database_pin_short": (1, "databases[0].certificate_sha256", "64 hexadecimal digits"),
    "log_rule_no_expression": (3, "events.files[0].rules[0].match", "is no regular expression"),
    "log_encoding_unknown": (3, "events.files[0].encoding", "is no encoding"),
    "log_severity_unknown": (3, "events.files[0].rules[0].severity", "must be one of critical"),
    "journal_priority_unknown": (1, "events.journal.priority", "must be emerg, alert"),
    "channel_not_a_name": (1, "events.windows[0].channel", "must be a channel's name"),
    "channel_provider_not_a_name": (1, "events.windows[0].providers", "is no provider's name"),
    "recursive": (1, "file", "aliases (*name) are not read here"),
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


def test_the_example_of_what_to_watch_is_good() -> None:
    """Each section in one text, read into what the checks take."""
    import agent.watchlist

    assert agent.watchlist.__doc__ is not None
    lines = agent.watchlist.__doc__.splitlines()
    example = "\n".join(line.removeprefix("    ") for line in lines if line.startswith("    "))
    config = parse_config(example.encode(), "example")
    assert config.services == (ServiceRule("MSSQLSERVER"), ServiceRule("W3SVC", "web"))
    assert config.probes[0].expect == "Sign in"
    assert config.databases[0] == DatabaseRule(
        "ucx", "postgresql", "localhost", 5432, "ucx_agent", "ucx", Path("/etc/pw")
    )
    assert config.channels == (Channel("System", (41, 7031), (1, 2)),)
    assert config.log_files[0].rules[0].event_id == "licence.overcome"
    assert config.journal is not None
    assert config.journal.units == ("ucx*",)
    assert (config.events_per_minute, config.facts_max_age) == (60, 900)
    assert [check.name for check in _configured(config, lambda: 0.0)] == [
        *("service", "probe", "storage", "facts", "peers", "database")
    ]
    assert {feed.name for feed in make_feeds(config, lambda: 0.0)} >= {"file:ucx-platform", "journal"}


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
