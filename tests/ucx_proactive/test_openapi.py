"""The API's document says what the API does: generated requests from it, answers held against it."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.collector.kit import Front, event, lasting_key
from ucx_proactive.web import PUBLIC

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
EXAMPLES = 6
SLOWEST_S = 10.0
"""No single answer takes longer, also on a machine that is busy otherwise."""


async def test_answers_are_what_the_document_promises(front: Front) -> None:
    """For each operation a handful of requests generated from the document: no 5xx, a documented status and
    content type, a body of the documented shape - and an answer within bounded time."""
    agent = await front.agent()
    await agent.send((front.clock(), [0.5, None]))
    await agent.post(agent.batch(events=[event(front.clock())]))
    key = await lasting_key(front)
    faults = await asyncio.to_thread(_explore, front.url, key)
    assert not faults, "\n\n".join(faults)
    assert (await front.http.get("/v1/hosts", headers=key)).status_code == 200  # or the rest saw only 401


def _explore(url: str, headers: dict[str, str]) -> list[str]:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    faults: list[str] = []
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        try:
            _try(operation, headers)
        except Exception as fault:  # every operation is tried; all faults are told together
            faults.append(f"{operation.label}: {fault}"[:1500])
    return faults


def _try(operation: Any, headers: dict[str, str]) -> None:
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def attempt(case: Any) -> None:
        started = time.monotonic()
        response = case.call(headers=headers)
        case.validate_response(response, checks=CHECKS)
        assert time.monotonic() - started < SLOWEST_S

    attempt()


async def test_every_operation_says_how_it_refuses_and_who_may_call(front: Front) -> None:
    """Each has the problem shape as its default answer; what needs a credential says so."""
    document = (await front.http.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            default = operation["responses"]["default"]["content"]["application/problem+json"]
            assert default["schema"] == {"$ref": "#/components/schemas/Problem"}
            assert ("security" in operation) == (path not in PUBLIC), path
    assert "HTTPValidationError" not in str(document)
    assert {"/v1/batches", "/v1/layouts/{digest}"} <= document["paths"].keys()
