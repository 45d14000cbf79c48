"""Calendars of maintenance windows: exact when clocks change, the same when read again, refused whole."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from alerting import ical
from alerting.errors import BadCalendar
from alerting.ical import Task, windows
from alerting.mute import Mute, occurrences
from tests.collector.kit import WoundClock, running
from wire.access import Role

NEW_YORK = ";TZID=America/New_York"
ROME = ZoneInfo("Europe/Rome")
NO_UID = "has no UID: a later import could not tell it from the others"
ENDS_FIRST = "must lie after 'starts_at', by at most 366 days"
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def calendar(*events: str) -> str:
    body = "".join(f"BEGIN:VEVENT\r\n{event.strip()}\r\nEND:VEVENT\r\n" for event in events)
    return f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//y//EN\r\n{body}END:VCALENDAR\r\n".replace(
        "\r\n", "\n"
    ).replace("\n", "\r\n")


def event(start: str, end: str, *lines: str, uid: str = "a@x", summary: str = "Patching") -> str:
    return "\n".join([f"UID:{uid}", f"SUMMARY:{summary}", f"DTSTART{start}", f"DTEND{end}", *lines])


NIGHT = event(
    ";TZID=Europe/Rome:20260308T020000", ";TZID=Europe/Rome:20260308T040000", "RRULE:FREQ=WEEKLY;BYDAY=SU"
)
ONCE = event(":20260310T200000Z", ":20260310T220000Z", uid="b@x", summary="Move")


def read(text: str, zone: str = "Europe/Rome", now: datetime = NOW) -> tuple[Mute, ...]:
    result = windows(Task(text, "acme/main/*/calendar", (("deployment", "=", "main"),), "ada", zone, now))
    assert not result.faults, result.faults
    return result.windows


def walls(found: tuple[Mute, ...], start: datetime, end: datetime) -> list[str]:
    """All occurrences in a span, in Rome's wall time."""
    spans = [o for mute in found for o in occurrences(mute, start, end)]
    return [
        f"{o.start.astimezone(ROME):%d.%m. %H:%M}-{o.end.astimezone(ROME):%H:%M}"
        f" {(o.end - o.start).total_seconds() / 3600:g}"
        for o in sorted(spans, key=lambda o: o.start)
    ]


def test_a_weekly_night_is_the_same_on_the_wall_when_clocks_change() -> None:
    """Sundays from two to four in Rome: an hour later by UTC from April on; on 29 March, when 02:00 does not
    exist, from three on; on 25 October, when two o'clock comes twice, the whole of both."""
    (mute,) = read(calendar(NIGHT))
    assert (mute.recurrence, mute.zone) == ("FREQ=WEEKLY;BYDAY=SU", "Europe/Rome")
    march = [o.start for o in occurrences(mute, NOW, NOW + timedelta(days=45))]
    assert [f"{at:%d.%m. %H:%M}" for at in march][:5] == [
        "08.03. 01:00",
        "15.03. 01:00",
        "22.03. 01:00",
        "29.03. 01:00",
        "05.04. 00:00",
    ]
    autumn = datetime(2026, 10, 25, 12, tzinfo=UTC)
    (long,) = occurrences(mute, autumn - timedelta(hours=14), autumn - timedelta(hours=8))
    assert (long.end - long.start) == timedelta(hours=3)


def test_exceptions_moves_and_extra_dates_are_unfolded() -> None:
    """A week left out, a week moved by an hour, an extra night: each occurrence is a window of its own."""
    rule = event(
        ";TZID=Europe/Rome:20260308T020000",
        ";TZID=Europe/Rome:20260308T040000",
        "RRULE:FREQ=WEEKLY;COUNT=5",
        "EXDATE;TZID=Europe/Rome:20260315T020000",
        "RDATE;TZID=Europe/Rome:20260318T020000",
    )
    moved = event(
        ";TZID=Europe/Rome:20260322T030000",
        ";TZID=Europe/Rome:20260322T050000",
        "RECURRENCE-ID;TZID=Europe/Rome:20260322T020000",
    )
    found = read(calendar(rule, moved))
    assert walls(found, NOW, NOW + timedelta(days=60)) == [
        "08.03. 02:00-04:00 2",
        "18.03. 02:00-04:00 2",
        "22.03. 03:00-05:00 2",
        "29.03. 03:00-04:00 1",
        "05.04. 02:00-04:00 2",
    ]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (";VALUE=DATE:20260329", ";VALUE=DATE:20260330", "29.03. 00:00-00:00 23"),
        (":20260329T010000", ":20260329T050000", "29.03. 01:00-05:00 3"),
        (":20260328T230000Z", ":20260329T030000Z", "29.03. 00:00-05:00 4"),
        (
            ";TZID=America/New_York:20260328T190000",
            ";TZID=America/New_York:20260328T210000",
            "29.03. 00:00-03:00 2",
        ),
    ],
    ids=["whole day", "floating", "UTC", "another zone"],
)
def test_times_are_read_in_their_own_zone(start: str, end: str, expected: str) -> None:
    """A whole day and a time without a zone are the customer's; others are what they say."""
    assert walls(read(calendar(event(start, end))), NOW, NOW + timedelta(days=60)) == [expected]


def test_a_duration_is_exact_and_what_is_over_or_cancelled_is_no_window() -> None:
    """PT4H over the night of the change is four hours; yesterday's event and a cancelled one are left out."""
    night = "\n".join(["UID:c@x", "DTSTART;TZID=Europe/Rome:20260329T000000", "DURATION:PT4H"])
    over = event(":20260201T000000Z", ":20260201T020000Z", uid="d@x")
    off = event(":20260310T000000Z", ":20260310T020000Z", "STATUS:CANCELLED", uid="e@x")
    (mute,) = read(calendar(night, over, off))
    assert mute.ends_at - mute.starts_at == timedelta(hours=4)


def test_read_again_every_window_has_its_id() -> None:
    """Also when an event was moved; another calendar's are others."""
    before, after = read(calendar(NIGHT, ONCE)), read(calendar(NIGHT, ONCE.replace("T2", "T1")))
    assert [m.mute_id for m in before] == [m.mute_id for m in after]
    assert before != after
    other = windows(
        Task(calendar(NIGHT), "acme/other/*/calendar", (("deployment", "=", "o"),), "ada", "UTC", NOW)
    )
    assert other.windows[0].mute_id not in {m.mute_id for m in before}


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        ("", ["is none: BEGIN:VCALENDAR is missing"]),
        (calendar(ONCE)[:-20], ["is cut off: END:VCALENDAR is missing"]),
        (
            calendar(ONCE.replace("UID:b@x\n", "")),
            [NO_UID],
        ),
        (calendar("UID:z\nDTSTART:20260310T200000Z"), ["has no end (DTEND or DURATION)"]),
        (calendar(ONCE + "\nRRULE:FREQ=MINUTELY"), ["repeats more often than daily, which is refused"]),
        (calendar(ONCE + "\nRRULE:FREQ=DAILY;INTERVAL=0"), ["has an INTERVAL that is not 1 .. 1000"]),
        (
            calendar(event(":20260310T200000Z", ":20260310T190000Z")),
            [ENDS_FIRST],
        ),
        (
            calendar("DTSTART:20260310T200000Z", ONCE + "\nEXRULE:FREQ=DAILY"),
            [
                NO_UID,
                "has no end (DTEND or DURATION)",
                "has an EXRULE, which is not read",
            ],
        ),
    ],
    ids=["empty", "cut off", "no uid", "no end", "every minute", "interval 0", "ends first", "all faults"],
)
def test_what_cannot_be_used_is_refused_with_every_fault(text: str, faults: list[str]) -> None:
    """And nothing of it is a window."""
    result = windows(Task(text, "s", (("deployment", "=", "main"),), "ada", "UTC", NOW))
    assert [message for _, message in result.faults] == faults
    assert result.windows == ()


async def test_a_calendar_that_takes_too_long_is_stopped() -> None:
    """The process that reads it is killed when its time is over."""
    task = Task(calendar(NIGHT), "s", (("deployment", "=", "main"),), "ada", "UTC", NOW)
    assert len(await ical.read(task)) == 1
    with pytest.raises(BadCalendar, match="takes longer than"):
        await ical.read(task, time_limit_s=0.001)


async def test_an_import_adds_changes_and_ends_what_the_calendar_no_longer_has(database_url: str) -> None:
    """Over HTTP: twice the same changes nothing; a moved event is changed, a missing one ended, one that is
    back is in force again; a dry run and a refused calendar change nothing; another tenant's key, a
    deployment's key and a reader's get nowhere.

    Broken twin: with ids drawn at random the second import doubles every window."""
    async with running(database_url, WoundClock(NOW)) as front:
        await front.customer("acme", "main")
        key = await front.key(Role.SUPPORT, "acme")

        async def send(text: str, **more: object) -> dict[str, int]:
            body = {"tenant": "acme", "deployment": "main", "calendar": text} | more
            answer = await front.http.post("/v1/maintenance/import", json=body, headers=key)
            assert answer.status_code == 200, answer.text
            return {name: count for name, count in answer.json().items() if count}

        assert await send(calendar(NIGHT, ONCE), dry_run=True) == {"added": 2}
        assert await send(calendar(NIGHT, ONCE)) == {"added": 2}
        assert await send(calendar(NIGHT, ONCE)) == {"unchanged": 2}
        assert await send(calendar(NIGHT, ONCE.replace("T22", "T23"))) == {"changed": 1, "unchanged": 1}
        assert await send(calendar(NIGHT), keep_missing=True) == {"unchanged": 1}
        assert await send(calendar(NIGHT)) == {"unchanged": 1, "cancelled": 1}
        assert await send(calendar(NIGHT, ONCE)) == {"added": 1, "unchanged": 1}
        assert await send(calendar(ONCE), source="other") == {"added": 1}
        listed = (await front.http.get("/v1/maintenance", headers=key)).json()
        assert sorted((m["title"], m["zone"]) for m in listed) == [
            ("Move", "UTC"),
            ("Move", "UTC"),
            ("Patching", "Europe/Rome"),
        ]
        body = {"tenant": "acme", "deployment": "main", "calendar": calendar("DTSTART:20260310T200000Z")}
        refused = await front.http.post("/v1/maintenance/import", json=body, headers=key)
        assert (refused.status_code, len(refused.json()["errors"])) == (422, 2)
        await front.customer("other", "main")
        for other in (
            await front.key(Role.SUPPORT, "other"),
            await front.key(Role.SUPPORT, "acme", "main"),
            await front.key(Role.READER, "acme"),
        ):
            answer = await front.http.post("/v1/maintenance/import", json=body, headers=other)
            assert answer.status_code in (403, 404)
        assert len((await front.http.get("/v1/maintenance", headers=key)).json()) == 3


async def test_the_command_imports_a_file(database_url: str, tmp_path: Path) -> None:
    """The same from the command line; faults end with 1, each on its line."""
    soon = datetime.now(UTC) + timedelta(days=3)
    once = event(f":{soon:%Y%m%dT%H%M%SZ}", f":{soon + timedelta(hours=2):%Y%m%dT%H%M%SZ}")
    good, bad = tmp_path / "good.ics", tmp_path / "bad.ics"
    good.write_text(calendar(once))
    bad.write_text(calendar("DTSTART:20260310T200000Z"))

    def command(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
        where = ["--tenant", "acme", "--deployment", "main", "--database-url", database_url]
        program = [sys.executable, "-m", "ucx_proactive.main", "maintenance", "import", str(path)]
        return subprocess.run([*program, *where, *words], capture_output=True, text=True, check=False)

    async with running(database_url) as front:
        await front.customer("acme", "main")
        done = command(good, "--json")
        assert (done.returncode, json.loads(done.stdout)["added"]) == (0, 1), done.stderr
        assert "0 windows added, 0 changed, 0 cancelled; 1 unchanged" in command(good).stdout
        refused = command(bad)
    assert refused.returncode == 1
    assert len(refused.stderr.strip().splitlines()) == 2
