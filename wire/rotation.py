"""What an agent signs, with the old key and with the new one, when it replaces its key.

Both signatures cover both keys and the agent's id: nobody on the way can put another key in, and a statement
that was overheard says nothing about any later change.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode


def statement(agent: str, old: bytes, new: bytes) -> bytes:
    """The bytes to sign; ``agent`` 32 hex digits, ``old`` and ``new`` public keys of 32 bytes."""
    return b"\n".join(
        (b"ucx-proactive: replace key", agent.encode(), urlsafe_b64encode(old), urlsafe_b64encode(new))
    )
