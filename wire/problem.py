"""RFC 9457 problem details: the one shape of every refusal we send over HTTP.

Problem
|- BadRequest      400  the request cannot be read
|- Unauthorised    401  no credential, or one that we do not accept
|- Forbidden       403  the credential is good, the act is not allowed
|- NotFound        404  (also for what belongs to another tenant: we do not confirm that it exists)
|- Conflict        409  the request contradicts what is stored; the caller can mend it and retry
|- TooLarge        413  over a stated limit
|- Unprocessable   422  readable, but one or more fields are wrong (``errors`` names them)
|- TooBusy         429  slow down; ``retry_after_s`` says for how long
`- Unavailable     503  ours to mend; nothing was stored; retry
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

CONTENT_TYPE = "application/problem+json"


class FieldError(msgspec.Struct, frozen=True):
    """One fault in the input."""

    field: str
    """Path of the field, as in ``frames[3].values[7]``; ``body`` for the whole."""
    message: str
    """What is wrong and what would be right."""


class Problem(Exception):
    """Base of all refusals. The message (``detail``) says what to do."""

    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    slug: ClassVar[str] = "internal"

    def __init__(
        self,
        detail: str,
        *,
        slug: str | None = None,
        errors: Sequence[FieldError] = (),
        retry_after_s: float | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.kind = slug or self.slug
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s
        self.extra = extra

    def body(self) -> dict[str, Any]:
        """The problem+json members, ready to encode."""
        document: dict[str, Any] = {
            "type": f"urn:ucx:problem:{self.kind}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            document["errors"] = [{"field": e.field, "message": e.message} for e in self.errors]
        return document | self.extra

    def headers(self) -> dict[str, str]:
        """Extra HTTP headers (``Retry-After``, whole seconds, rounded up)."""
        if self.retry_after_s is None:
            return {}
        return {"Retry-After": str(max(1, int(self.retry_after_s + 0.999)))}


class BadRequest(Problem):
    status, title, slug = 400, "Bad request", "bad-request"


class Unauthorised(Problem):
    status, title, slug = 401, "Not authenticated", "unauthorised"


class Forbidden(Problem):
    status, title, slug = 403, "Not allowed", "forbidden"


class NotFound(Problem):
    status, title, slug = 404, "Not found", "not-found"


class Conflict(Problem):
    status, title, slug = 409, "Conflict", "conflict"


class TooLarge(Problem):
    status, title, slug = 413, "Too large", "too-large"


class Unprocessable(Problem):
    status, title, slug = 422, "Invalid fields", "invalid"


class TooBusy(Problem):
    status, title, slug = 429, "Too many requests", "too-busy"


class Unavailable(Problem):
    status, title, slug = 503, "Unavailable", "unavailable"
