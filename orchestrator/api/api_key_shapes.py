"""Shapes of API keys, their bodies and answers, for the OpenAPI document alone."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from ninja import Schema

from orchestrator.api.documents import Part
from tenants.keys import SCOPES

_END: Part = {
    "type": ["string", "number", "null"],
    "description": "RFC 3339, or a duration from now; null: it does not end by itself",
}
API_KEY: Part = {
    "type": "object",
    "additionalProperties": False,
    "description": "See docs/people.md",
    "properties": {
        "name": {"type": "string", "maxLength": 200},
        "scopes": {
            "type": "array",
            "minItems": 1,
            "items": {"enum": list(SCOPES)},
            "description": "All unless given",
        },
        "expires_at": _END,
    },
}
ROTATE: Part = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "overlap": {
            "type": ["string", "number"],
            "default": "1d",
            "description": "How long the key before still counts; 0: no longer",
        },
        "expires_at": {
            **_END,
            "description": "RFC 3339, or a duration from now; unless given, the new key lives as"
            " long as the one before was made to live",
        },
    },
}


class ApiKeyView(Schema):
    """A key, without the key itself.  `id` is its prefix."""

    id: str
    name: str
    scopes: list[str]
    state: Literal["active", "expired", "revoked"]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    rotated_from: str | None


class ApiKeySecret(ApiKeyView):
    """A key with the key itself, which is shown this once."""

    key: str
