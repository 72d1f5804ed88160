"""The API as a whole: its routers, its document, and what guards its edges."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseNotAllowed
from django.urls import URLPattern, URLResolver, include, path, re_path
from ninja import NinjaAPI
from ninja.openapi.schema import OpenAPISchema

from orchestrator.api import (
    alerts,
    api_keys,
    audit,
    bulk,
    channels,
    databases,
    dead_letters,
    errors,
    events,
    logs,
    pools,
    quota,
    repairs,
    runs,
    schedules,
    secrets,
    server,
    signals,
    silences,
    slas,
    stats,
    triggers,
    workflows,
)
from orchestrator.api.schemas import Finding, ProblemDetails

PREFIX = "api/v1/"
NAMESPACE = "api"
REFERENCES = "#/components/schemas/{model}"
DOCS_POLICY = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " object-src 'none'; base-uri 'self'; frame-ancestors 'none'"
)
DESCRIPTION = """Workflow orchestration for many tenants. The key names the tenant.

Errors are problem details (RFC 9457) with a stable `code`; validation lists every problem in
`errors`, each with a JSON Pointer. Times are RFC 3339 in UTC with six decimals. Integers keep every
digit: read them with a parser that does too."""


class Api(NinjaAPI):
    """ninja with what it cannot see: keys are checked by `doors`, problems written by `errors`."""

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        """The document; served as it stands in docs/openapi.json."""
        document = super().get_openapi_schema(
            path_prefix=f"/{PREFIX}" if path_prefix is None else path_prefix,
            path_params=path_params,
        )
        components = document["components"]
        for model in (ProblemDetails, Finding):
            shape = model.model_json_schema(ref_template=REFERENCES)
            shape.pop("$defs", None)
            components["schemas"][model.__name__] = shape
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
        return document


def _with_policy(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """The documentation's page needs inline styles, and nothing from anywhere else."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        response = view(request, *args, **kwargs)
        response.headers["Content-Security-Policy"] = DOCS_POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return guarded


def _speaking(view: Callable[..., Any]) -> Callable[..., Any]:
    """Let a refused method be problem details too."""

    def translate(response: HttpResponseBase) -> HttpResponseBase:
        if isinstance(response, HttpResponseNotAllowed):
            return errors.not_allowed(response)
        return response

    if inspect.iscoroutinefunction(view):

        @functools.wraps(view)
        async def speaking_async(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            return translate(await view(request, *args, **kwargs))

        return speaking_async

    @functools.wraps(view)
    def speaking(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        return translate(view(request, *args, **kwargs))

    return speaking


def _build() -> Api:
    built = Api(
        title="Millrace",
        version="1",
        description=DESCRIPTION,
        docs_decorator=_with_policy,
        urls_namespace=NAMESPACE,
    )
    for router in (
        workflows.router,
        bulk.router,
        runs.router,
        events.router,
        logs.router,
        signals.router,
        pools.router,
        databases.router,
        schedules.router,
        slas.router,
        triggers.router,
        stats.router,
        quota.router,
        server.router,
        repairs.router,
        dead_letters.router,
        api_keys.router,
        secrets.router,
        audit.router,
        alerts.router,
        channels.router,
        silences.router,
    ):
        built.add_router("", router)
    errors.register(built)
    return built


api = _build()


def _routes() -> list[URLPattern | URLResolver]:
    routes: list[URLPattern | URLResolver] = [
        path(str(route.pattern), _speaking(route.callback), name=route.name)
        for route in api.urls[0]
        if isinstance(route, URLPattern) and route.name != "api-root"
    ]
    return [
        path(PREFIX, include((routes, "ninja"), namespace=NAMESPACE)),
        re_path(r"^api(?:/.*)?$", errors.unknown_route),
    ]


urlpatterns = _routes()
"""To be included at the root: every route of the API, then what is none of them."""
