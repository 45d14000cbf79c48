"""The real demo, once: a real fault, a real agent, collector, call and mail, ended by itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from storage.account import reachable_dir
from ticketing.releases import load_releases
from ucx_proactive.demo import customers, rules
from ucx_proactive.demo.customers import Customer, Tongue
from ucx_proactive.demo.faults import Fault

ROOT = Path(__file__).parents[2]


@pytest.mark.story
@pytest.mark.timeout(150)
def test_a_killed_process_becomes_a_ticket_a_call_and_mails_in_arabic(tmp_path: Path) -> None:
    """A platform process dies; seconds later a phone rings and is answered, and the customer has read, in its
    own language and right to left, that a ticket was opened and taken in charge."""
    directory, written = reachable_dir(tmp_path / "demo"), tmp_path / "times.json"
    words = ["demo", "--fault", "process", "--language", "ar", "--auto-answer", "--exit"]
    words += ["--data-dir", str(directory), "--json", str(written)]
    with subprocess.Popen(
        [sys.executable, "-m", "ucx_proactive.main", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as demo:
        try:
            told, _ = demo.communicate(timeout=100)
        except subprocess.TimeoutExpired:
            demo.terminate()  # it stops in order what it started; a kill would leave all of that behind
            told, _ = demo.communicate()
    assert demo.returncode == 0, told
    times = json.loads(written.read_bytes())
    assert times["threshold_crossed_at"] < times["ticket_opened_at"] < times["ringing_at"]
    assert times["ringing_at"] < times["acknowledged_at"]
    assert len([s for s in times["mails"] if s.startswith(f"[{times['ticket_number']}]")]) == 2
    assert "اتفاقية مستوى الخدمة" in told
    [opened, _] = sorted((directory / "mail").glob("*it@platinum.example.html"))
    assert '<html lang="ar" dir="rtl">' in opened.read_text(encoding="utf-8")
    assert "everything that was started is stopped again" in told


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("priority", [1, 2, 3, 4])
def test_the_demos_rules_say_the_priority_that_was_asked_for(
    fault: Fault, priority: int, tmp_path: Path
) -> None:
    """Each fault's rule pack opens at that priority, and the explanation says so."""
    assert f"priority: P{priority}" in rules.pack(fault, tmp_path, priority)
    assert f"P{priority} here" in rules.explained(fault, priority)


@pytest.mark.parametrize("language", list(Tongue))
def test_the_customers_theatre_speaks_the_language(language: Tongue) -> None:
    """Whatever was asked for is spoken, as a main or an optional language, where the customer is served."""
    document = customers.registry(Customer.GOLD, language)
    theatre = load_releases()[-1].theatres["me-mon-fri" if language is Tongue.AR else "europe"]
    assert language in (*theatre.languages, *theatre.optional_languages)
    assert f"- {language}" in document
