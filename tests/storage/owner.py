"""A process that owns an embedded server until it is told to end: what tests kill.

``python owner.py DATA_DIR [--no-watchdog]`` prints the server's URL once it runs, then waits for the end of
input."""

import sys

from storage.embedded import EmbeddedServer

if __name__ == "__main__":
    with EmbeddedServer(sys.argv[1], watchdog="--no-watchdog" not in sys.argv) as server:
        print(server.url, flush=True)
        sys.stdin.read()
