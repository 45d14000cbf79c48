"""The agent as an administrator meets it: real processes, a real collector on loopback."""

from __future__ import annotations

import json
import os
import random
import signal
import stat
import subprocess
import sys
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from pathlib import Path

import jwt
import pytest
from msgspec.structs import replace

from agent import VERSION
from agent.checks.service import ServiceState
from agent.doctor import examine
from agent.identity import NotEnrolled, Unusable, load_identity, load_key, make_key
from agent.main import main
from agent.options import Options
from agent.status import Status, is_fresh
from agent.status import lines as status_lines
from agent.supervisor import judge
from agent.token import TokenMaker
from tests.agent.collector import AGENT, Collector, Ledger
from wire.batch import EventBatch

ROOT = Path(__file__).parents[2]
posix_only = pytest.mark.skipif(sys.platform == "win32", reason="signals and rights of POSIX")


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector(ledger=Ledger()) as server:
        yield server


def agent(state: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One command, run to its end."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "agent", "--state-dir", str(state), *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )


def enrol(state: Path, collector: Collector) -> None:
    done = agent(state, "enrol", "--collector", collector.url, "--token", "ucxe_good", "--host-name", "web-1")
    assert done.returncode == 0, done.stderr
    assert "host 'web-1' of acme/main" in done.stdout


def start(state: Path, *arguments: str) -> subprocess.Popen[str]:
    """A running agent that measures five times a second."""
    command = [sys.executable, "-W", "error", "-m", "agent", "--state-dir", str(state), "run"]
    return subprocess.Popen(
        [*command, "--interval", "0.2", "--max-backoff", "0.5", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def events(ledger: Ledger) -> list[str]:
    return [e.event_id for b in list(ledger.batches) if isinstance(b, EventBatch) for e in b.events]


# ---- identity -----------------------------------------------------------------------------------------


@posix_only
def test_enrolment_keeps_the_key_on_the_host_and_private(tmp_path: Path, collector: Collector) -> None:
    """0600 in a directory of 0700; the collector has the public half; nothing but the identity is said."""
    state = tmp_path / "state"
    enrol(state, collector)
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert stat.S_IMODE((state / "agent.key").stat().st_mode) == 0o600
    assert load_identity(state).agent_id == AGENT
    public = collector.ledger.keys_by_agent[AGENT].public_bytes_raw()
    assert load_key(state).public_key().public_bytes_raw() == public
    secret = urlsafe_b64decode((state / "agent.key").read_bytes().strip() + b"=")
    assert secret not in (state / "agent.json").read_bytes()
    assert len(secret) == 32


def test_enrolling_twice_needs_a_word(tmp_path: Path, collector: Collector) -> None:
    """--again: a host must not lose its identity by a repeated command."""
    enrol(tmp_path, collector)
    again = agent(tmp_path, "enrol", "--collector", collector.url, "--token", "ucxe_good")
    assert (again.returncode, "already enrolled" in again.stderr) == (1, True)


def test_enrolment_whose_answer_was_lost_can_be_repeated_with_the_same_key(
    tmp_path: Path, collector: Collector
) -> None:
    """The key is written before anybody hears of it, and kept: the collector may know it already."""
    lost = agent(tmp_path, "enrol", "--collector", "http://127.0.0.1:9", "--token", "ucxe_good")
    assert (lost.returncode, "gives no answer" in lost.stderr) == (1, True)
    key = (tmp_path / "agent.key").read_bytes()
    with pytest.raises(NotEnrolled):
        load_identity(tmp_path)
    refused = agent(tmp_path, "enrol", "--collector", collector.url, "--token", "ucxe_bad")
    assert "not known or was used" in refused.stderr
    enrol(tmp_path, collector)
    assert (tmp_path / "agent.key").read_bytes() == key


def test_a_refused_enrolment_leaves_nothing_behind(tmp_path: Path, collector: Collector) -> None:
    """Neither the key nor the directory that it made; what was there before stays."""
    bad = ("enrol", "--collector", collector.url, "--token", "ucxe_bad")
    assert agent(tmp_path / "new", *bad).returncode == 1
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").write_text("mine")
    assert agent(tmp_path, *bad).returncode == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@posix_only
def test_a_key_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    """The message says how to mend it; a damaged key is told apart."""
    make_key(tmp_path)
    (tmp_path / "agent.key").chmod(0o644)
    with pytest.raises(Unusable, match="chmod 600"):
        load_key(tmp_path)
    (tmp_path / "agent.key").chmod(0o600)
    (tmp_path / "agent.key").write_bytes(b"short")
    with pytest.raises(Unusable, match="damaged"):
        load_key(tmp_path)


def test_the_token_is_a_jwt_that_others_understand(tmp_path: Path) -> None:
    """Checked by another library; used again only while it is fresh."""
    key = make_key(tmp_path)
    maker = TokenMaker(key, AGENT)
    token = maker.token(1_760_000_000.7)
    claims = jwt.decode(
        token,
        key.public_key(),
        algorithms=["EdDSA"],
        audience="ucx-collector",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert jwt.get_unverified_header(token)["kid"] == AGENT
    assert claims == {"aud": "ucx-collector", "iat": 1_760_000_000, "exp": 1_760_000_060}
    assert jwt.get_unverified_header(token)["kid"] == AGENT
    assert maker.token(1_760_000_030) == token
    assert maker.token(1_760_000_040) != token
    assert maker.token(1_700_000_000) != token, "the clock was set back"


# ---- running ------------------------------------------------------------------------------------------


@posix_only
def test_the_agent_measures_delivers_and_stops_in_good_order(tmp_path: Path, collector: Collector) -> None:
    """Readings arrive, SIGTERM leaves nothing behind in memory, status and doctor tell the truth."""
    enrol(tmp_path, collector)
    with start(tmp_path) as running:
        wait_for(lambda: len(collector.ledger.frames) >= 5)
        doctor = agent(tmp_path, "doctor", "--json")
        findings = [json.loads(line) for line in doctor.stdout.splitlines()]
        running.send_signal(signal.SIGTERM)
        assert running.wait(20) == 0
    assert doctor.returncode == 0, findings
    assert {"subject": "collector", "level": "ok"}.items() <= next(
        f for f in findings if f["subject"] == "collector"
    ).items()
    said = events(collector.ledger)
    assert said[0] == "agent.start"
    status = json.loads(agent(tmp_path, "status", "--json").stdout)
    assert status["stopped"]
    assert status["delivered_batches"] > 5
    assert "agent.stop" in said or status["spool_batches"] > 0


@posix_only
def test_the_configurations_log_level_holds_from_the_start(tmp_path: Path, collector: Collector) -> None:
    """Not only after a reload; the flag goes before it.

    It did not: the file's level was first looked at by a reload."""
    enrol(tmp_path, collector)
    (tmp_path / "agent.yaml").write_text("log_level: error\n")
    for flags, quiet in (((), True), (("--log-level", "info"), False)):
        running = start(tmp_path, "--config", str(tmp_path / "agent.yaml"), *flags)
        wait_for((tmp_path / "status.json").exists)
        running.terminate()
        _, said = running.communicate(timeout=20)
        assert (said == "") is quiet, said
        (tmp_path / "status.json").unlink()


def test_a_faulty_reload_is_refused_and_reported(tmp_path: Path, collector: Collector) -> None:
    """SIGHUP with a bad file: the last good configuration runs on; with a good one it is taken."""
    config = tmp_path / "agent.yaml"
    config.write_text("disable: [network]\n")
    enrol(tmp_path / "state", collector)
    with start(tmp_path / "state", "--config", str(config)) as running:
        wait_for(lambda: len(collector.ledger.frames) >= 2)
        config.write_text("colour: blue\n")
        running.send_signal(signal.SIGHUP)
        wait_for(lambda: "config.refused" in events(collector.ledger))
        before = len(collector.ledger.frames)
        wait_for(lambda: len(collector.ledger.frames) > before + 2)
        config.write_text("disable: [network, disk]\n")
        running.send_signal(signal.SIGHUP)
        layouts = len(collector.ledger.layouts)
        wait_for(lambda: len(collector.ledger.layouts) > layouts)
        running.terminate()
        assert running.wait(20) == 0
    smallest = min(collector.ledger.layouts.values(), key=lambda layout: len(layout.series))
    assert not any("disk" in series.metric for series in smallest.series)


@posix_only
@pytest.mark.parametrize(
    "faulty",
    ["colour: blue\n", "collector_url: http://collector.example.com\n"],
    ids=["unknown key", "plain http"],
)
def test_a_host_that_starts_anew_with_a_faulty_file_runs_on_the_last_good_one(
    tmp_path: Path, collector: Collector, faulty: str
) -> None:
    """Somebody edited it and nobody reloaded; then the machine restarts at night: it goes on measuring, by
    the configuration of before, and tells the collector. Without one before, it says what is wrong."""
    config, state = tmp_path / "agent.yaml", tmp_path / "state"
    enrol(state, collector)
    config.write_text(faulty)
    first = agent(state, "run", "--config", str(config))
    assert first.returncode in (1, 2)
    config.write_text("disable: [network, disk]\n")
    with start(state, "--config", str(config)) as running:
        wait_for(lambda: len(collector.ledger.frames) >= 2)
        running.terminate()
    config.write_text(faulty)
    before = len(collector.ledger.frames)
    with start(state, "--config", str(config)) as running:
        wait_for(lambda: len(collector.ledger.frames) > before + 2)
        wait_for(lambda: "config.refused" in events(collector.ledger))
        running.terminate()
        assert running.wait(20) == 0
    assert not any(
        series.metric.startswith(("system.disk", "system.network"))
        for layout in collector.ledger.layouts.values()
        for series in layout.series
    )


@pytest.mark.kill
@posix_only
def test_kill_at_random_moments_loses_no_acknowledged_frame_and_doubles_none(
    tmp_path: Path, collector: Collector
) -> None:
    """Eight times SIGKILL while it measures and delivers; the collector goes away in between.

    Every frame that was acknowledged is stored once; every number stands for one content."""
    enrol(tmp_path, collector)
    chance = random.Random(5)
    for _ in range(8):
        before = len(collector.ledger.frames)
        with start(tmp_path) as running:
            wait_for(lambda seen=before: len(collector.ledger.frames) > seen)  # type: ignore[misc]
            time.sleep(chance.random() / 2)
            running.kill()
    with start(tmp_path) as running:
        wait_for(lambda: events(collector.ledger).count("agent.start") == 9)
        running.terminate()
        running.wait(20)
    frames = collector.ledger.frames
    assert len({(layout, at) for layout, at, _ in frames}) == len(frames)
    assert not collector.ledger.faults
    assert list(tmp_path.glob("*.corrupt-*")) == []


def test_running_without_enrolment_or_with_faults_says_what_to_do(tmp_path: Path) -> None:
    """Exit codes: 1 cannot, 2 wrong use."""
    lost = agent(tmp_path, "run")
    assert (lost.returncode, "ucx-agent enrol" in lost.stderr) == (1, True)
    config = tmp_path / "bad.yaml"
    config.write_text("a: 1\nb: 2\n")
    bad = agent(tmp_path, "run", "--config", str(config))
    assert bad.returncode == 2
    assert f"{config}:1: a: is not known" in bad.stderr
    assert f"{config}:2: b: is not known" in bad.stderr


def test_plain_http_is_for_loopback_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A token must not travel in the clear unless somebody insists."""
    state = ["--state-dir", str(tmp_path)]
    assert main([*state, "enrol", "--collector", "http://10.0.0.1", "--token", "ucxe_x"]) == 2
    assert "must be https" in capsys.readouterr().err


def test_only_one_agent_runs_on_a_state_directory(tmp_path: Path, collector: Collector) -> None:
    """The second says so and leaves."""
    enrol(tmp_path, collector)
    with start(tmp_path) as running:
        wait_for(lambda: len(collector.ledger.batches) > 0)
        second = agent(tmp_path, "run")
        running.terminate()
        running.wait(20)
    assert (second.returncode, "another ucx-agent" in second.stderr) == (1, True)


# ---- looking ------------------------------------------------------------------------------------------


def test_check_prints_a_table_or_json_or_all_that_would_leave(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three views of the same readings; none needs an enrolment."""
    monkeypatch.setattr("agent.preview._BETWEEN_S", 0.05)
    state = ["--state-dir", str(tmp_path)]
    assert main([*state, "check"]) == 0
    assert "system.cpu.utilization" in capsys.readouterr().out
    assert main([*state, "check", "--json"]) == 0
    samples = json.loads(capsys.readouterr().out)["samples"]
    assert any(sample["metric"] == "system.memory.available" and sample["value"] > 0 for sample in samples)
    assert main([*state, "check", "--explain"]) == 0
    sent = json.loads(capsys.readouterr().out)
    assert sum(len(frame["values"]) for frame in sent["frames"]) == len(samples)


def test_doctor_explains_a_collector_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, and each problem comes with what to do."""
    state = ["--state-dir", str(tmp_path), "--collector", "http://127.0.0.1:9"]
    assert main([*state, "doctor", "--json"]) == 1
    findings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    problems = {finding["subject"] for finding in findings if finding["level"] == "problem"}
    assert {"identity", "connection"} <= problems
    assert all(finding["do"] for finding in findings if finding["level"] != "ok")


def test_a_console_of_few_characters_ends_no_command(tmp_path: Path) -> None:
    """cp1252, ASCII: what it cannot show stands there as a number.

    Broken twin: without main's care the command ends with UnicodeEncodeError."""
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252:strict", "PYTHONUTF8": "0"}
    state = tmp_path / "\u2603 \u65e5"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "agent",
            "--state-dir",
            str(state),
            "--collector",
            "http://127.0.0.1:9",
            "doctor",
        ],
        capture_output=True,
        cwd=ROOT,
        env=environment,
        timeout=60,
        check=False,
    )
    assert b"\\u2603 \\u65e5 does not exist" in done.stdout
    assert b"Traceback" not in done.stderr


def test_every_command_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    """--help of each says more than its flags."""
    for command in ("enrol", "run", "check", "doctor", "status", "service"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert len(capsys.readouterr().out.rpartition("trials only)")[2].split()) > 8, command


def test_the_first_minute_is_no_trouble() -> None:
    """An agent that has delivered nothing yet says why; one that should have by now does not."""
    young = Status("1", 100.0, 0, None, "", None, 0, 0, 0, {}, started_at=90.0)
    assert "not yet" in "\n".join(status_lines(young, 110.0))
    assert is_fresh(young, 110.0)
    for other in (
        replace(young, started_at=-50.0),
        replace(young, trouble="no line"),
        replace(young, last_receipt_at=99.0),
        replace(young, stopped=True),
        replace(young, started_at=None),
    ):
        assert not is_fresh(other, 110.0)
        assert "not yet" not in "\n".join(status_lines(other, 110.0))


@pytest.mark.parametrize(
    ("state", "word", "good"),
    [
        (None, "not installed", False),
        (ServiceState(True, True, 0), "runs and starts", True),
        (ServiceState(False, True, 0), "does not run", False),
        (ServiceState(True, False, 0), "does not start with the system", False),
        (ServiceState(False, False, 0), "does not run, but does not start", False),
    ],
    ids=["absent", "good", "stopped", "by-hand", "off"],
)
def test_the_service_around_the_agent_is_explained(state: ServiceState | None, word: str, good: bool) -> None:
    """For status and doctor; whatever is not in order comes with a command."""
    found = judge(state)
    assert word in found.what
    assert (found.good, bool(found.do)) == (good, not good)


def test_a_configuration_that_is_not_there_is_not_called_good(tmp_path: Path) -> None:
    """The defaults hold, and that is said."""
    options = Options(tmp_path, tmp_path / "agent.yaml", False)
    assert "no " in next(examine(options)).what
    assert "defaults" in next(examine(options)).what
    (tmp_path / "agent.yaml").write_text("log_level: info\n")
    assert "is good" in next(examine(options)).what


def test_the_version_is_the_distributions() -> None:
    """One number in two places."""
    assert f'version = "{VERSION}"' in (ROOT / "pyproject.toml").read_text()


def test_the_running_agent_loads_only_what_it_needs() -> None:
    """On a customer's host memory counts: no command line toolkit, no web framework, no second JWT."""
    program = """
import sys
for name in ("click", "rich", "pygments"):
    sys.modules[name] = None  # what a customer's host does not have
import agent.run, agent.main
from agent.sources import for_this_system
from agent.selection import make_checks
for_this_system()
heavy = {"typer", "jwt", "fastapi", "pydantic", "asyncpg", "psycopg", "wire.catalogue", "hypothesis"}
print(sorted(heavy & set(sys.modules)), "psutil" in sys.modules)
"""
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT, env=os.environ
    )
    assert found.stdout.startswith("[] ")
    if sys.platform == "linux":
        assert found.stdout == "[] False\n"


@posix_only
def test_a_reader_that_has_seen_enough_ends_a_command_quietly(tmp_path: Path) -> None:
    """As in ``ucx-agent check | head -1``; seen failing with a traceback."""
    command = [sys.executable, "-m", "agent.main", "--state-dir", str(tmp_path), "check", "--explain"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
