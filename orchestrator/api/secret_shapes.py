"""Shapes of secrets, their bodies and answers, for the OpenAPI document alone."""

from __future__ import annotations

from datetime import datetime

from ninja import Schema

from orchestrator.api.documents import Part

_VALUE: Part = {
    "type": "string",
    "minLength": 4,
    "writeOnly": True,
    "description": "At most 64 KiB; no answer ever has it",
}
NEW_SECRET: Part = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "value"],
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,62}$"},
        "value": _VALUE,
    },
}
SECRET: Part = {**NEW_SECRET, "required": ["value"]}


class SecretView(Schema):
    """A secret, without its value; `last_used_at` is exact to a minute."""

    name: str
    version: int
    created_at: datetime
    updated_at: datetime
    updated_by: str
    last_used_at: datetime | None


class SecretVersionView(Schema):
    """When a secret got a value, and from whom."""

    version: int
    at: datetime
    by: str


class SecretDetail(SecretView):
    """A secret with the last 100 of its versions, newest first."""

    versions: list[SecretVersionView]
