"""Pools and breakers, as the API answers them."""

from datetime import datetime
from typing import Literal

from ninja import Schema


class PoolView(Schema):
    """A pool and its use; of a server's pool `in_use` is all tenants', `waiting` the tenant's own."""

    name: str
    limit: int
    rate: str | None
    scope: Literal["tenant", "server"]
    in_use: int
    waiting: int
    created_at: datetime
    updated_at: datetime


class BreakerView(Schema):
    """A host that fails: open, nothing is sent until `retry_at`; half_open, one step tries."""

    host: str
    state: Literal["closed", "open", "half_open"]
    failures: int
    opened_at: datetime | None
    retry_at: datetime | None
