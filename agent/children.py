"""How processes are started: our own interpreter, and no window on anybody's screen."""

from __future__ import annotations

import sys

if sys.platform == "win32":
    import subprocess

    PYTHON = str(getattr(sys, "_base_executable", None) or sys.executable)
    """The interpreter itself. The one of a virtual environment only starts it as its child there, and to kill
    the one would leave the other."""
    FLAGS = subprocess.CREATE_NO_WINDOW
else:
    PYTHON = sys.executable
    FLAGS = 0
