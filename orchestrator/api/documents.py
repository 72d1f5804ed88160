"""What ninja cannot see of a route, for the OpenAPI document: parameters and bodies are read by
hand (in the contract's order of refusal, with every digit), so they are described by hand too."""

from __future__ import annotations

from typing import Any

Part = dict[str, Any]

PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
SUMMARIES = {
    400: "Malformed JSON or UTF-8",
    401: "The API key is missing, unknown, expired or revoked",
    403: "The key lacks a scope, which is named",
    404: "Absent, or another tenant's",
    409: "The present state does not allow it",
    413: "Too large or too deep",
    422: "Not valid; `errors` lists every problem with its path",
    429: "Over a quota, which is named; `Retry-After` says when to try again",
}


def parameter(
    name: str, description: str, *, kind: str = "string", where: str = "query", **schema: object
) -> Part:
    """A parameter that may be left out."""
    return {
        "name": name,
        "in": where,
        "required": False,
        "description": description,
        "schema": {"type": kind, **schema},
    }


LIMIT = parameter("limit", "Rows a page", kind="integer", minimum=1, maximum=1000, default=50)
STEPS_LIMIT = parameter(
    "limit", "Rows a page", kind="integer", minimum=1, maximum=1000, default=1000
)
CURSOR = parameter("cursor", "`next_cursor` of the page before")
WAIT = parameter(
    "wait", "Seconds to wait for the run's end, cut to 60", kind="number", minimum=0, default=0
)
KEY = parameter(
    "Idempotency-Key",
    "The same key and body get the first run; kept 7 days or as long as the run",
    where="header",
    minLength=1,
    maxLength=255,
)
RUN_FILTERS = (
    parameter("workflow", "Name of a workflow"),
    parameter("state", "A state, or several with commas; may be given more than once"),
    parameter("label", "`name:value`; may be given more than once, all must hold"),
    parameter("created_after", "RFC 3339", format="date-time"),
    parameter("created_before", "RFC 3339", format="date-time"),
    parameter("q", "Beginning of an id, part of a workflow's name, or a label's value"),
)

SUBMISSION: Part = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "input": {"description": "Any JSON; checked against the workflow's input_schema"},
        "labels": {
            "type": "object",
            "additionalProperties": {"type": "string"},
            "maxProperties": 64,
        },
        "priority": {"type": "integer", "minimum": 0, "maximum": 9},
        "version": {"type": "integer", "minimum": 1, "description": "The newest unless given"},
        "deadline": {
            "type": ["string", "number"],
            "description": "RFC 3339, or a duration from now",
        },
        "start_at": {
            "type": ["string", "number"],
            "description": "Nothing starts before: RFC 3339, or a duration from now",
        },
    },
}
BULK_LINE: Part = {
    **SUBMISSION,
    "required": ["workflow"],
    "properties": {
        "workflow": {"type": "string"},
        "idempotency_key": {"type": "string", "minLength": 1, "maxLength": 255},
        **SUBMISSION["properties"],
    },
}
DEFINITION: Part = {
    "type": "object",
    "required": ["steps"],
    "description": "A workflow's definition; see docs/api.md",
    "properties": {
        "name": {"type": "string"},
        "description": {"type": "string"},
        "input_schema": {"type": "object", "description": "JSON Schema 2020-12"},
        "timeout": {"type": ["string", "number"]},
        "max_parallel": {"type": "integer", "minimum": 1},
        "fail_fast": {"type": "boolean"},
        "priority": {"type": "integer", "minimum": 0, "maximum": 9},
        "steps": {"type": "array", "minItems": 1, "items": {"type": "object"}},
        "output": {"description": "Any JSON with `${{ … }}` expressions"},
        "concurrency": {
            "type": "object",
            "required": ["key"],
            "properties": {
                "key": {"description": "Runs with the same key share the limit"},
                "limit": {"type": "integer", "minimum": 1, "default": 1},
                "on_conflict": {"enum": ["queue", "cancel_oldest", "reject"]},
            },
        },
    },
}


def route(
    *errors: int,
    parameters: tuple[Part, ...] = (),
    body: Part | None = None,
    media: str = "application/json",
    required: bool = True,
) -> Part:
    """`openapi_extra` of a route: its parameters, body, and the errors beside 401 and 403."""
    extra: Part = {
        "responses": {
            str(status): {"description": SUMMARIES[status], "content": PROBLEM}
            for status in sorted({401, 403, *errors})
        }
    }
    if parameters:
        extra["parameters"] = list(parameters)
    if body is not None:
        extra["requestBody"] = {"required": required, "content": {media: {"schema": body}}}
    return extra
