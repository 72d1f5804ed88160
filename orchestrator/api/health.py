"""Whether the server is well, for load balancers, people and Prometheus.  Mounted at the root."""

from __future__ import annotations

import hmac
import os
from ipaddress import ip_address

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.multiprocess import MultiProcessCollector

from orchestrator.api.answers import answer
from orchestrator.api.errors import plain, refuse
from orchestrator.conf import conf
from orchestrator.domain.errors import KeyInvalid, ScopeMissing
from orchestrator.domain.health import CHECKS
from orchestrator.selectors import health as selector
from orchestrator.selectors.health import Check, State
from orchestrator.selectors.metrics import MillraceCollector
from tenants import keys
from tenants.errors import TooManyGuesses
from tenants.models import ApiKey

NOT_READY = "The database cannot be used"
OUTSIDE = ("broker", "channel_layer", "disk")
"""Parts that are looked at without it."""
NAMING = ("handlers", "breakers")
"""Parts whose details name tenants."""

_registry = CollectorRegistry(auto_describe=False)
_registry.register(MillraceCollector())


@never_cache
@require_safe
def live(request: HttpRequest) -> HttpResponse:
    """200 as long as this process answers, whatever else is broken."""
    return answer({"state": "ok"})


@never_cache
@require_safe
def ready(request: HttpRequest) -> HttpResponse:
    """200 when requests can be served, else 503: the database answers and is migrated."""
    check = selector.database_ready()
    if check.state is State.OK:
        return answer({"state": "ok"})
    return plain(503, NOT_READY, check.detail.split(":")[0], "not_ready")


@never_cache
@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """Every part's state; 503 when one is down.  Any key may ask; what was seen and what mends it
    are for staff and for keys with the scope `admin`.  Without a database nobody can be recognised:
    then it is said, to anybody, which parts are down, and no more."""
    if selector.database_ready().state is not State.OK:
        return _without_database()
    try:
        key = _key(request)
        staff = key is None and _is_staff(request)
    except DatabaseError:
        return _without_database()
    if key is None and not staff:
        return refuse(KeyInvalid("A valid API key or a session of staff is needed."))
    full = staff or (key is not None and "admin" in key.scopes)
    checks = selector.checks()
    state = selector.overall(checks)
    return answer(
        {"state": state, "checks": [_shape(check, full=full, staff=staff) for check in checks]},
        503 if state is State.DOWN else 200,
    )


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Metrics for Prometheus, open to this host, to the bearer of ORCHESTRATOR_METRICS_TOKEN and to
    staff.  A key with the scope `admin` sees the server's and its own tenant's, of no other any."""
    registry = _registry
    if not (_is_local(request) or _bears_token(request)):
        try:
            key = _key(request)
            staff = key is None and _is_staff(request)
        except DatabaseError:
            key, staff = None, False
        if key is None and not staff:
            return refuse(KeyInvalid("Ask from this host, or with a key that has the scope admin."))
        if key is not None:
            if "admin" not in key.scopes:
                return refuse(ScopeMissing(scope="admin"))
            registry = CollectorRegistry(auto_describe=False)
            registry.register(MillraceCollector(only=key.tenant.slug))
    text = generate_latest(_processes()) + generate_latest(registry)
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)


def _processes() -> CollectorRegistry:
    """What web processes count themselves: this one, or all that share PROMETHEUS_MULTIPROC_DIR."""
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        return REGISTRY
    together = CollectorRegistry(auto_describe=False)
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]
    return together


def _without_database() -> HttpResponse:
    down = [
        one.name for one in selector.checks() if one.name in OUTSIDE and one.state is State.DOWN
    ]
    said = f"Nobody can be recognised. Down: {', '.join(['database', *down])}."
    return plain(503, NOT_READY, said, "not_ready")


def _shape(check: Check, *, full: bool, staff: bool) -> dict[str, object]:
    detail = check.detail
    if check.name in NAMING and not staff:  # a key is a tenant's, and is told of no other
        detail = CHECKS[check.name].words(check.state)
    return {
        "name": check.name,
        "state": check.state,
        "since": check.since,
        "detail": detail if full else None,
        "mend": (check.mend or None) if full else None,
    }


def _bearer(request: HttpRequest) -> str:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def _key(request: HttpRequest) -> ApiKey | None:
    raw = _bearer(request)
    try:
        return keys.authenticate(raw, origin=request.META.get("REMOTE_ADDR") or "") if raw else None
    except TooManyGuesses:
        return None


def _is_staff(request: HttpRequest) -> bool:
    user = getattr(request, "user", None)
    return bool(user and user.is_authenticated and user.is_active and user.is_staff)


def _is_local(request: HttpRequest) -> bool:
    """Whether a program on this host asks, itself: a proxy here speaks for others."""
    if "Forwarded" in request.headers or "X-Forwarded-For" in request.headers:
        return False
    try:
        return ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


def _bears_token(request: HttpRequest) -> bool:
    token = conf().metrics_token
    return bool(token) and hmac.compare_digest(_bearer(request).encode(), token.encode())


urlpatterns = [
    path("health/live", live),
    path("health/ready", ready),
    path("health", health),
    path("metrics", metrics),
]
