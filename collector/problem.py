"""Refusals that only an HTTP front door needs, beside those of wire/problem.py.

Problem (wire.problem)
|- MethodNotAllowed  405  the address exists, the method does not; ``Allow`` says which do
|- RequestTimeout    408  the body did not arrive in time
`- UnknownEncoding   415  a Content-Encoding that we do not speak
"""

from __future__ import annotations

from wire.problem import Problem


class MethodNotAllowed(Problem):
    status, title, slug = 405, "Method not allowed", "method-not-allowed"

    def __init__(self, allow: str) -> None:
        super().__init__(f"This address answers only {allow}.")
        self.allow = allow

    def headers(self) -> dict[str, str]:
        return {"Allow": self.allow}


class RequestTimeout(Problem):
    status, title, slug = 408, "Request too slow", "too-slow"


class UnknownEncoding(Problem):
    status, title, slug = 415, "Unknown encoding", "unknown-encoding"
