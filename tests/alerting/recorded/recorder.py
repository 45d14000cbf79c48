"""Records free bytes of real file systems while files are written, rotated and deleted on them.

    python tests/alerting/recorded/recorder.py WORK_FOLDER OUTPUT_FOLDER [--seconds 1440]

As root on Linux: makes small ext4 file systems in image files, mounts each, and lets one writer per file
system do what applications do, a step a second. What is kept is what the operating system then says
(``statvfs``: bytes that a user may still take), one line a second: ``second,free_bytes``, and the size of
the file system in the first line. A recorded second stands for ten minutes: 144 s are a day.

    rotation   a log that is compressed every two hours and kept for a day
    backup     a nightly dump, the old one deleted when the new one is whole; a larger one every seventh day
    growth     a database that grows all day, with a journal that is cut every hour
    runaway    the log of 'rotation', and in the last six hours somebody left debugging on
    step       a restore puts one large file there in the middle of the time
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

DAY = 144
HOUR = 6
MB = 1_000_000
Writer = Callable[[Path, int, int, random.Random], None]


def append(path: Path, count: float) -> None:
    """Bytes that compress about as well as a log does."""
    with path.open("ab") as file:
        for _ in range(max(int(count) // 1000, 1)):
            file.write((os.urandom(120).hex() + " request done\n").encode() * 4)


def rotation(folder: Path, second: int, seconds: int, rand: random.Random) -> None:
    """About 0.4 MB of log a step, by the hour of the day."""
    log = folder / "app.log"
    busy = 1.6 if second % DAY in range(8 * HOUR, 18 * HOUR) else 0.5
    append(log, 0.4 * MB * busy * rand.uniform(0.5, 1.5))
    if second % (2 * HOUR) == 0:
        with gzip.open(folder / f"app.{second:05d}.gz", "wb", compresslevel=1) as kept:
            kept.write(log.read_bytes())
        log.unlink()
    for old in sorted(folder.glob("app.*.gz"))[:-12]:
        old.unlink()


def backup(folder: Path, second: int, _: int, rand: random.Random) -> None:
    """From 01:00 to 05:00 a dump grows; at its end the one before goes."""
    day, hour = divmod(second, DAY)
    name = folder / f"dump.{day:03d}"
    if HOUR <= hour < 5 * HOUR:
        weekly = 1.5 if day % 7 == 6 else 1.0
        append(name, 3.2 * MB * weekly * rand.uniform(0.9, 1.1))
    elif hour == 5 * HOUR:
        for old in sorted(folder.glob("dump.*"))[:-1]:
            old.unlink()
    append(folder / "catalogue", 2000)


def growth(folder: Path, second: int, _: int, rand: random.Random) -> None:
    """A tenth of a MB a step for good, and a journal of up to 2 MB."""
    append(folder / "data", 0.12 * MB * rand.uniform(0.4, 1.6))
    journal = folder / "journal"
    append(journal, 0.3 * MB)
    if second % HOUR == 0:
        journal.write_bytes(b"")


def runaway(folder: Path, second: int, seconds: int, rand: random.Random) -> None:
    """As ``rotation``, then 1.6 MB a step more."""
    rotation(folder, second, seconds, rand)
    if second >= seconds - 6 * HOUR:
        append(folder / "debug.log", 1.1 * MB * rand.uniform(0.8, 1.2))


def step(folder: Path, second: int, seconds: int, rand: random.Random) -> None:
    """As ``rotation``, and 60 MB at once."""
    rotation(folder, second, seconds, rand)
    if second == seconds // 2:
        append(folder / "restored", 60 * MB)


WRITERS: dict[str, Writer] = {w.__name__: w for w in (rotation, backup, growth, runaway, step)}


def mounted(work: Path, name: str, megabytes: int) -> Path:
    """A new ext4 file system, mounted."""
    image, folder = work / f"{name}.img", work / name
    with image.open("wb") as file:
        file.truncate(megabytes * MB)
    folder.mkdir()
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True)
    return folder


def free(folder: Path) -> tuple[int, int]:
    """Bytes that a user may take, and the size of the file system."""
    said = os.statvfs(folder)
    return said.f_bavail * said.f_frsize, said.f_blocks * said.f_frsize


def record(folders: dict[str, Path], output: Path, seconds: int) -> None:
    """One step of every writer a second, and what the system says then."""
    files = {name: (output / f"{name}.csv").open("w") for name in folders}
    for name, file in files.items():
        file.write(f"second,free_bytes of {free(folders[name])[1]}\n")
    started = time.monotonic()
    for second in range(seconds):
        for name, folder in folders.items():
            WRITERS[name](folder, second, seconds, random.Random(f"{name}{second}"))
            files[name].write(f"{second},{free(folder)[0]}\n")
            files[name].flush()
        time.sleep(max(started + second + 1 - time.monotonic(), 0))
    for file in files.values():
        file.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seconds", type=int, default=10 * DAY)
    given = parser.parse_args()
    folders = {name: mounted(given.work, name, 240) for name in WRITERS}
    try:
        record(folders, given.output, given.seconds)
    finally:
        for folder in folders.values():
            subprocess.run(["umount", str(folder)], check=False)


if __name__ == "__main__":
    main()
