"""``./dev kill``: kill everything at random, then count what was lost."""

from __future__ import annotations

import argparse
import random
import signal
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tests.kill import collectors, collectors_twins, driver, pager_twins, pagers, twins

# story -> what runs it, and the designs broken on purpose that it must notice
STORIES: dict[str, tuple[Callable[..., Any], Mapping[str, object]]] = {
    "everything": (driver.run, twins.TWINS),
    "collectors": (collectors.run, collectors_twins.TWINS),
    "pagers": (pagers.run, pager_twins.TWINS),
}


def main() -> int:
    """The exit code: 0 = nothing is wrong."""
    parser = argparse.ArgumentParser(prog="./dev kill", description=__doc__)
    parser.add_argument("--cycles", type=int, default=50, help="how many kills (default 50)")
    parser.add_argument("--seed", type=int, help="repeat the choices of an earlier run (default: random)")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.add_argument("--story", choices=sorted(STORIES), default="everything", help="what is killed")
    known = sorted({name for _, broken in STORIES.values() for name in broken})
    parser.add_argument("--twin", choices=known, help="run a design that is broken on purpose")
    arguments = parser.parse_args()
    run, broken = STORIES[arguments.story]
    if arguments.twin and arguments.twin not in broken:
        parser.error(
            f"--story {arguments.story} has no twin {arguments.twin}; it has: {', '.join(sorted(broken))}"
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the world is torn down on the way out
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    result = run(
        arguments.cycles, seed, arguments.twin, lambda line: print(line, file=sys.stderr, flush=True)
    )
    if arguments.json:
        print(msgspec.json.encode(result).decode())
    else:
        for name, value in msgspec.structs.asdict(result).items():
            print(f"{name:>15}  {value}")
    return 1 if result.faults else 0


if __name__ == "__main__":
    sys.exit(main())
