"""The API's document, made truthful: what the guard and the ingest application do is in it, too."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from collector.route import BATCHES, LAYOUTS
from wire.problem import CONTENT_TYPE

Document = dict[str, Any]

PROBLEM_SCHEMA: Document = {
    "type": "object",
    "description": "Problem details (RFC 9457)",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What to do"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
RECEIPT_SCHEMA: Document = {
    "type": "object",
    "description": "The collector's word on one batch: only this lets an agent forget it",
    "required": ["agent", "epoch", "seq", "digest", "outcome", "reason"],
    "properties": {
        "agent": {"type": "string"},
        "epoch": {"type": "integer"},
        "seq": {"type": "integer"},
        "digest": {"type": "string", "description": "SHA-256 of the batch's bytes, hex"},
        "outcome": {"enum": ["stored", "refused", "renumber"]},
        "reason": {"type": "string"},
    },
}
_PROBLEM = {
    "description": "Refused",
    "content": {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def install(app: FastAPI, public: Any) -> None:
    """Make ``app.openapi()`` answer with the truthful document."""
    plain = app.openapi

    def truthful() -> Document:
        if app.openapi_schema is None:
            app.openapi_schema = _completed(plain(), public)
        return app.openapi_schema

    app.openapi = truthful  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _completed(document: Document, public: Any) -> Document:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= {"Problem": PROBLEM_SCHEMA, "Receipt": RECEIPT_SCHEMA}
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    document["paths"] |= _ingest_paths()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = _PROBLEM
            if path not in public:
                operation["security"] = [{"bearer": []}]
    return document


def _ingest_paths() -> Document:
    binary = {"schema": {"type": "string", "format": "binary"}}
    receipt = {"application/json": {"schema": {"$ref": "#/components/schemas/Receipt"}}}
    digest = {
        "name": "digest",
        "in": "path",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    }
    sent_at = {
        "name": "UCX-Sent-At",
        "in": "header",
        "required": False,
        "schema": {"type": "integer", "minimum": 946_684_800_000, "maximum": 4_102_444_800_000},
        "description": "The host's clock at sending, in milliseconds since 1970",
    }
    body = {"required": True, "content": {"application/octet-stream": binary}}
    batch = {
        "tags": ["agents"],
        "summary": "Store a batch (MessagePack, see wire/batch.py)",
        "operationId": "post_batch",
        "parameters": [sent_at],
        "requestBody": body,
        "responses": {"200": {"description": "A receipt", "content": receipt}},
    }
    layout = {
        "tags": ["agents"],
        "summary": "Register a layout by its canonical bytes (see wire/layout.py)",
        "operationId": "put_layout",
        "parameters": [digest],
        "requestBody": body,
        "responses": {"204": {"description": "The layout is known"}},
    }
    return {BATCHES: {"post": batch}, f"{LAYOUTS}{{digest}}": {"put": layout}}
