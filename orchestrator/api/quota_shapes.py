"""The shapes of limits and of usage."""

from __future__ import annotations

from datetime import datetime

from ninja import Schema


class QuotaUse(Schema):
    """What the tenant has in use now; `ready_steps` are waiting steps that no limit of their own sets
    aside."""

    connections: int
    ready_steps: int
    active_runs: int
    waiting_steps: int
    submissions: int
    storage_bytes: int
    schedules: int
    api_keys: int


class OverrideView(Schema):
    """What a limit is set to for a time."""

    value: float | None
    expires_at: datetime
    reason: str


class LimitView(Schema):
    """A limit: null is none.  `base` comes back after `override`; `exhausted_at`: when it will be
    reached if use goes on as in the last week."""

    name: str
    value: float | None
    base: float | None
    use: float | None
    override: OverrideView | None
    exhausted_at: datetime | None


class ChangeView(Schema):
    """What a limit was and became: `base` (for good), `override` (for a time), `ended`, `expired`."""

    at: datetime
    name: str
    kind: str
    before: float | None
    after: float | None
    expires_at: datetime | None
    reason: str


class QuotaView(Schema):
    """The tenant's limits and their use; null is no limit."""

    max_connections: int
    weight: float
    max_active_runs: int | None
    max_waiting_steps: int | None
    submissions_per_minute: int | None
    max_steps: int
    max_payload_bytes: int
    max_storage_bytes: int | None
    retention_days: int | None
    max_schedules: int | None
    max_api_keys: int | None
    max_bulk_lines: int
    keep_outputs: bool
    suspended: bool
    use: QuotaUse
    limits: list[LimitView]
    changes: list[ChangeView]


class UsedView(Schema):
    """`runs` accepted, `steps` started, `worker_s` seconds that connections were held, requests with
    a key, and the bytes of their and their answers' bodies."""

    runs: int
    steps: int
    worker_s: float
    requests: int
    bytes: int


class HourView(UsedView):
    """An hour from `at` on, and the most that was there at once."""

    at: datetime
    peak_connections: int
    peak_active_runs: int
    peak_waiting_steps: int
    storage_bytes: int


class UsageView(Schema):
    """The hours of a window, oldest first; the last one is still filling."""

    window: str
    since: datetime
    until: datetime
    totals: UsedView
    hours: list[HourView]
    limits: list[LimitView]
