"""``python -m agent``: the same as ``ucx-agent``."""

import sys

from agent.main import main

sys.exit(main())
