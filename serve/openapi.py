"""The OpenAPI document: FastAPI's own of the control routes, and the hot path beside it.

The hot path's bodies are described by what the gateway itself needs of them; every other field
is the engine's and passes through untouched, as OpenAI's and vLLM's documents name them.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from serve.exchange import ROUTES
from serve.keys import scope_of

TEXT = {"type": "string"}
ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": TEXT,
                "type": TEXT,
                "param": {"type": ["string", "null"]},
                "code": TEXT,
            },
        }
    },
}
SAMPLING: dict[str, Any] = {
    "stream": {"type": "boolean"},
    "max_tokens": {"type": "integer", "minimum": 1},
    "n": {"type": "integer", "minimum": 1},
    "temperature": {"type": "number", "minimum": 0},
    "user": TEXT,
    "metadata": {"type": "object", "additionalProperties": TEXT},
}
MESSAGES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role", "content"],
        "properties": {
            "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
            "content": TEXT,
        },
    },
}
TEXTS = {"anyOf": [TEXT, {"type": "array", "items": TEXT, "minItems": 1}]}
BODIES: dict[str, dict[str, Any]] = {
    "chat": {"messages": MESSAGES, **SAMPLING},
    "completions": {"prompt": TEXTS, **SAMPLING},
    "embeddings": {"input": TEXTS, "user": TEXT},
}
FEEDBACK = {
    "type": "object",
    "properties": {
        "request_id": {"type": "string", "minLength": 1, "maxLength": 128},
        "feedback_id": {"type": "string", "minLength": 1, "maxLength": 128},
        "kind": TEXT,
        "metric": {"type": "string", "maxLength": 64},
        "value": {"type": "number"},
        "label": {"type": "string", "maxLength": 64},
        "text": {"type": "string", "maxLength": 16_384},
        "ranking": {"type": "array"},
    },
}
OTHER_BODIES: dict[str, dict[str, Any]] = {
    "/v1/feedback": FEEDBACK,
    "/v1/arena/battles": {
        "type": "object",
        "required": ["messages"],
        "properties": {"messages": MESSAGES},
    },
}
PUBLIC = ("/healthz", "/readyz")
UNIT = {
    "name": "x-hallmark-unit",
    "in": "header",
    "description": "Whoever it is stays in one arm of the experiment.",
    "schema": TEXT,
}


def document(app: FastAPI) -> dict[str, Any]:
    """OpenAPI 3.1 of every route under which a machine may ask."""
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    made = get_openapi(title="Hallmark", version="1", routes=routes)
    paths: dict[str, dict[str, Any]] = made["paths"]
    for path, route in ROUTES.items():
        paths[path] = {"post": _hot(path, route)}
    for path, operations in paths.items():
        for method, operation in operations.items():
            operation["responses"].setdefault("default", _response("A refusal.", ERROR))
            if path not in PUBLIC:
                said = operation.get("description", "")
                operation["description"] = f"{said} Wants a key of scope {scope_of(path)}.".strip()
                operation["security"] = [{"key": []}]
            if method == "post" and "requestBody" not in operation:
                operation["requestBody"] = _body(OTHER_BODIES.get(path, {"type": "object"}))
    made.setdefault("components", {})["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer"}
    }
    return made


def _hot(path: str, route: str) -> dict[str, Any]:
    fields = BODIES[route]
    body = {
        "type": "object",
        "required": ["model", next(iter(fields))],
        "properties": {"model": TEXT, **fields},
    }
    answer = _response("The engine's answer; server-sent events where stream is true.", {})
    answer["content"]["text/event-stream"] = {"schema": TEXT}
    return {
        "operationId": route,
        "summary": path.removeprefix("/v1/").replace("/", " "),
        "parameters": [UNIT],
        "requestBody": _body(body),
        "responses": {"200": answer},
    }


def _body(schema: dict[str, Any]) -> dict[str, Any]:
    return {"required": True, "content": {"application/json": {"schema": schema}}}


def _response(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
