"""The tables of the API's routes and filters: what each asks for, and whether it is about a thing of the
tenant's, which a stranger must not learn to exist."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.api.root import api as root
from tests.walk.world import MARK

OBJECT = "object"
"""About a thing in the path: for a stranger it does not exist."""
OWN = "own"
"""About whatever is the key's own tenant's: a list, or something new."""
SERVER = "server"
"""About the server, the same for all."""

ROUTES = {
    "PUT /workflows/{name}": ("workflows:write", OWN),
    "GET /workflows/{name}": ("workflows:read", OBJECT),
    "DELETE /workflows/{name}": ("workflows:write", OBJECT),
    "GET /workflows": ("workflows:read", OWN),
    "GET /workflows/{name}/versions": ("workflows:read", OBJECT),
    "GET /workflows/{name}/versions/{version}": ("workflows:read", OBJECT),
    "POST /workflows/{name}/pause": ("workflows:write", OBJECT),
    "POST /workflows/{name}/resume": ("workflows:write", OBJECT),
    "POST /workflows/{name}/runs": ("runs:write", OBJECT),
    "POST /runs/bulk": ("runs:write", OWN),
    "GET /runs": ("runs:read", OWN),
    "GET /runs/{run_id}": ("runs:read", OBJECT),
    "GET /runs/{run_id}/steps": ("runs:read", OBJECT),
    "GET /runs/{run_id}/steps/{step}/attempts": ("runs:read", OBJECT),
    "GET /runs/{run_id}/steps/{step}/results": ("runs:read", OBJECT),
    "GET /runs/{run_id}/graph": ("runs:read", OBJECT),
    "GET /runs/{run_id}/events": ("runs:read", OBJECT),
    "GET /runs/{run_id}/logs": ("runs:read", OBJECT),
    "GET /events": ("runs:read", OWN),
    "POST /runs/{run_id}/cancel": ("runs:write", OBJECT),
    "POST /runs/{run_id}/undo": ("runs:write", OBJECT),
    "POST /runs/{run_id}/pause": ("runs:write", OBJECT),
    "POST /runs/{run_id}/resume": ("runs:write", OBJECT),
    "POST /runs/{run_id}/retry": ("runs:write", OBJECT),
    "POST /runs/{run_id}/signals/{name}": ("runs:write", OBJECT),
    "POST /runs/{run_id}/steps/{step}/retry": ("runs:write", OBJECT),
    "POST /runs/{run_id}/steps/{step}/complete": ("runs:write", OBJECT),
    "POST /runs/{run_id}/steps/{step}/skip": ("runs:write", OBJECT),
    "GET /dead-letters": ("runs:read", OWN),
    "POST /dead-letters/retry": ("runs:write", OWN),
    "GET /actions/{action_id}": ("runs:read", OBJECT),
    "GET /pools": ("workflows:read", OWN),
    "POST /pools": ("workflows:write", OWN),
    "GET /pools/{name}": ("workflows:read", OBJECT),
    "PUT /pools/{name}": ("workflows:write", OBJECT),
    "DELETE /pools/{name}": ("workflows:write", OBJECT),
    "GET /schedules": ("workflows:read", OWN),
    "POST /schedules": ("workflows:write", OWN),
    "GET /schedules/{name}": ("workflows:read", OBJECT),
    "PUT /schedules/{name}": ("workflows:write", OWN),
    "DELETE /schedules/{name}": ("workflows:write", OBJECT),
    "POST /schedules/{name}/pause": ("workflows:write", OBJECT),
    "POST /schedules/{name}/resume": ("workflows:write", OBJECT),
    "GET /schedules/{name}/fires": ("workflows:read", OBJECT),
    "POST /schedules/{name}/backfill": ("runs:write", OBJECT),
    "GET /schedules/{name}/backfills/{backfill_id}": ("workflows:read", OBJECT),
    "GET /triggers": ("workflows:read", OWN),
    "POST /triggers": ("workflows:write", OWN),
    "GET /triggers/{name}": ("workflows:read", OBJECT),
    "PUT /triggers/{name}": ("workflows:write", OWN),
    "DELETE /triggers/{name}": ("workflows:write", OBJECT),
    "POST /triggers/{name}/rotate": ("workflows:write", OBJECT),
    "GET /triggers/{name}/deliveries": ("workflows:read", OBJECT),
    "GET /api-keys": ("admin", OWN),
    "POST /api-keys": ("admin", OWN),
    "GET /api-keys/{key_id}": ("admin", OBJECT),
    "DELETE /api-keys/{key_id}": ("admin", OBJECT),
    "POST /api-keys/{key_id}/rotate": ("admin", OBJECT),
    "GET /secrets": ("admin", OWN),
    "POST /secrets": ("admin", OWN),
    "GET /secrets/{name}": ("admin", OBJECT),
    "PUT /secrets/{name}": ("admin", OWN),
    "DELETE /secrets/{name}": ("admin", OBJECT),
    "GET /audit": ("admin", OWN),
    "GET /audit/export": ("admin", OWN),
    "GET /database": ("admin", OWN),
    "PUT /database": ("admin", OWN),
    "DELETE /database": ("admin", OWN),
    "GET /alerts": ("runs:read", OWN),
    "GET /alerts/{alert_id}": ("runs:read", OBJECT),
    "POST /alerts/{alert_id}/acknowledge": ("alerts:write", OBJECT),
    "POST /alerts/{alert_id}/resolve": ("alerts:write", OBJECT),
    "GET /channels": ("runs:read", OWN),
    "POST /channels": ("alerts:write", OWN),
    "GET /channels/{name}": ("runs:read", OBJECT),
    "PUT /channels/{name}": ("alerts:write", OWN),
    "DELETE /channels/{name}": ("alerts:write", OBJECT),
    "POST /channels/{name}/test": ("alerts:write", OBJECT),
    "POST /channels/{name}/rotate": ("alerts:write", OBJECT),
    "GET /channels/{name}/notifications": ("runs:read", OBJECT),
    "GET /silences": ("runs:read", OWN),
    "POST /silences": ("alerts:write", OWN),
    "GET /silences/{silence_id}": ("runs:read", OBJECT),
    "PUT /silences/{silence_id}": ("alerts:write", OBJECT),
    "DELETE /silences/{silence_id}": ("alerts:write", OBJECT),
    "GET /maintenance-windows": ("runs:read", OWN),
    "POST /maintenance-windows": ("alerts:write", OWN),
    "GET /maintenance-windows/{name}": ("runs:read", OBJECT),
    "PUT /maintenance-windows/{name}": ("alerts:write", OWN),
    "DELETE /maintenance-windows/{name}": ("alerts:write", OBJECT),
    "GET /usage": ("runs:read", OWN),
    "GET /stats": ("runs:read", OWN),
    "GET /quota": ("runs:read", OWN),
    "GET /slas": ("runs:read", OWN),
    "POST /slas": ("alerts:write", OWN),
    "POST /slas/preview": ("runs:read", OWN),
    "GET /slas/{name}": ("runs:read", OBJECT),
    "PUT /slas/{name}": ("alerts:write", OWN),
    "DELETE /slas/{name}": ("alerts:write", OBJECT),
    "GET /sla-proposals": ("runs:read", OWN),
    "POST /sla-proposals/{workflow}/accept": ("alerts:write", OBJECT),
    "POST /sla-proposals/{workflow}/dismiss": ("alerts:write", OBJECT),
    "GET /breakers": ("runs:read", OWN),
    "GET /handlers": ("workflows:read", SERVER),
    "GET /workers": ("runs:read", SERVER),
}

SLA = {"name": MARK, "kind": "run_duration", "threshold": "1h", "workflows": [MARK]}
AUDITED = {
    "actor": "key:*",
    "action": "secret.*",
    "target": MARK,
    "origin": "127.0.0.1",
    "since": "2100-01-01T00:00:00Z",
    "until": "2020-01-01T00:00:00Z",
}
FILTERS = {
    "GET /workflows": {"archived": "true"},
    "GET /runs": {
        "workflow": MARK,
        "state": "failed",
        "label": f"k:{MARK}",
        "created_after": "2020-01-01T00:00:00Z",
        "created_before": "2100-01-01T00:00:00Z",
        "q": MARK,
    },
    "GET /events": {"run_id": "{run_id}", "workflow": MARK, "type": "run.*"},
    "GET /schedules": {"workflow": MARK},
    "GET /alerts": {
        "state": "firing",
        "severity": "warning",
        "rule": f"sla:{MARK}",
        "workflow": MARK,
        "silenced": "false",
    },
    "GET /audit": AUDITED,
    "GET /audit/export": AUDITED,
    "GET /stats": {"workflow": MARK},
    "GET /dead-letters": {
        "workflow": MARK,
        "step": "quillon_a",
        "code": "error",
        "fingerprint": "{fingerprint}",
        "group": "true",
    },
}
"""What a stranger's list may be narrowed by, with the values that the tenant's things have.

`limit` and `cursor` are every list's; a cursor of another tenant is tried below."""
SHAPES = {
    "limit",
    "cursor",
    "wait",
    "dry_run",
    "index",
    "step",
    "attempt",
    "level",
    "follow",
    "backfill",
    "last_event_id",
}
"""Parameters that say how a thing is shown, of routes about one thing."""
LISTS = {"limit", "cursor", "wait", "dry_run", "window", "format", "last_event_id"}
"""The same, of other routes."""
STREAMED = "GET /audit/export"
FOLLOWED = ("GET /events", "GET /runs/{run_id}/events")
"""What also answers with a stream; what such a one may see: tests/api/test_events.py."""


def routes() -> Iterator[tuple[str, list[str]]]:
    """Every route of the API, with the names of its parameters."""
    for path, methods in root.get_openapi_schema()["paths"].items():
        for method, operation in methods.items():
            named = [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"]
            yield f"{method.upper()} {path.removeprefix('/api/v1')}", named
