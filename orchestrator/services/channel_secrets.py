"""What a channel must not show again: sealed and opened."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tenants.sealing import seal, unseal

PURPOSE = "channels"


def sealed(secrets: Mapping[str, str]) -> bytes:
    """A channel's secrets (`url`, `secret`), encrypted."""
    return seal(json.dumps(dict(secrets)), purpose=PURPOSE)


def opened(token: bytes | None) -> dict[str, str]:
    """The secrets of a channel; none where it has none.  Raises tenants.sealing.Unreadable."""
    if token is None:
        return {}
    found: dict[str, str] = json.loads(unseal(bytes(token), purpose=PURPOSE))
    return found
