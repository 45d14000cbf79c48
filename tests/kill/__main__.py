"""``./dev kill``: kill everything at random, then count what was lost."""

from __future__ import annotations

import argparse
import random
import sys

import msgspec

from tests.kill.driver import run
from tests.kill.twins import TWINS


def main() -> int:
    """The exit code: 0 = nothing is wrong."""
    parser = argparse.ArgumentParser(prog="./dev kill", description=__doc__)
    parser.add_argument("--cycles", type=int, default=50, help="how many kills (default 50)")
    parser.add_argument("--seed", type=int, help="repeat the choices of an earlier run (default: random)")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parser.add_argument("--twin", choices=sorted(TWINS), help="run a design that is broken on purpose")
    arguments = parser.parse_args()
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
