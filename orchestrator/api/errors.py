"""Problem details (RFC 9457): the one place where errors become answers."""

from __future__ import annotations

import logging

import psycopg
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from ninja import NinjaAPI

from orchestrator import logs
from orchestrator.api.answers import answer
from orchestrator.domain.errors import Invalid, MillraceError, Problem
from tenants.errors import TenantsError

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
AWAY = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
RESERVED = frozenset({"type", "title", "status", "detail", "code", "errors"})


def details(error: MillraceError | TenantsError) -> dict[str, object]:
    """An error as problem details: `code`, facts, and for validation `errors: [{path, message}]`."""
    facts = {key: value for key, value in error.facts.items() if key not in RESERVED}
    found: dict[str, object] = {
        "type": "about:blank",
        "title": error.title,
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        **facts,
    }
    if isinstance(error, Invalid):
        found["errors"] = [finding(problem) for problem in error.problems]
    return found


def finding(problem: Problem) -> dict[str, object]:
    """A problem with its place."""
    return {"path": problem.path, "message": problem.message, "code": problem.code}


def refuse(error: MillraceError | TenantsError) -> HttpResponse:
    """The answer that an error is."""
    headers = {}
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if "retry_after" in error.facts:
        headers["Retry-After"] = str(error.facts["retry_after"])
    return answer(details(error), error.status, headers=headers, content_type=PROBLEM_JSON)


def plain(
    status: int, title: str, detail: str, code: str, headers: dict[str, str] | None = None
) -> HttpResponse:
    """A problem that no error of ours stands for."""
    problem: dict[str, object] = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    }
    if status >= 500 and (about := logs.request.get()) is not None:
        problem["request_id"] = about.id  # by which the log tells of it
    return answer(problem, status, headers=headers, content_type=PROBLEM_JSON)


def unknown_route(request: HttpRequest, **_: object) -> HttpResponse:
    """What lies under the API's address but is no route of it."""
    return plain(404, "Not found", "There is no such address.", "unknown_route")


def not_allowed(response: HttpResponseBase) -> HttpResponse:
    """A route that does not know the request's method."""
    allowed = str(response.headers.get("Allow", ""))
    detail = f"The address does not take this method; it takes {allowed}."
    return plain(
        405, "Method not allowed", detail, "method_not_allowed", headers={"Allow": allowed}
    )


def unexpected(error: Exception) -> HttpResponse:
    """A fault of ours, logged; or the database is away, which passes."""
    if isinstance(error, AWAY):
        logger.warning("the database did not answer: %s", error)
        detail = "The database cannot be reached at the moment; try again."
        return plain(503, "Unavailable", detail, "unavailable", headers={"Retry-After": "1"})
    logger.error("an unexpected error in the API", exc_info=error)
    detail = "Something went wrong here; it has been logged."
    return plain(500, "Internal error", detail, "internal_error")


def register(api: NinjaAPI) -> None:
    """Let every error that leaves a view become problem details."""

    @api.exception_handler(MillraceError)
    def ours(request: HttpRequest, error: MillraceError) -> HttpResponse:
        return refuse(error)

    @api.exception_handler(TenantsError)
    def of_tenants(request: HttpRequest, error: TenantsError) -> HttpResponse:
        return refuse(error)

    @api.exception_handler(Http404)
    def absent(request: HttpRequest, error: Http404) -> HttpResponse:
        return unknown_route(request)

    @api.exception_handler(Exception)
    def other(request: HttpRequest, error: Exception) -> HttpResponse:
        return unexpected(error)
