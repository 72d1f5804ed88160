"""How a request comes in: key, then scope, then the view, which finds the object in the path, reads
the body and calls a service.  Nothing of a request is parsed before its key is known to be good."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase

from orchestrator import logs
from orchestrator.api.answers import answer
from orchestrator.api.errors import refuse, unexpected
from orchestrator.api.waiter import wait_for_end
from orchestrator.domain.errors import KeyInvalid, MillraceError, ScopeMissing
from orchestrator.domain.statuses import TERMINAL_RUN
from orchestrator.selectors.runs import run_view
from tenants import fence, keys
from tenants.actors import Actor
from tenants.models import Tenant

P = ParamSpec("P")


class ApiRequest(HttpRequest):
    """A request whose key was good."""

    tenant: Tenant
    actor: Actor


@dataclass(frozen=True, slots=True)
class UntilEnd:
    """A view's answer where the client waits: the run, when it has ended or when time is up.

    `status` is the answer's until the run has ended; then it is 200."""

    run_id: UUID
    seconds: float
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def bearer(request: HttpRequest) -> str:
    """The key that a request carries; empty where it carries none."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


def identify(request: HttpRequest, scope: str) -> ApiRequest:
    """The request with its tenant and actor.  Raises KeyInvalid, ScopeMissing, TooManyGuesses."""
    raw = bearer(request)
    origin = request.META.get("REMOTE_ADDR") or ""
    key = keys.authenticate(raw, origin=origin) if raw else None
    if key is None:
        raise KeyInvalid
    if (about := logs.request.get()) is not None:
        about.tenant, about.key = key.tenant.slug, key.prefix
        about.route = None if request.resolver_match is None else f"/{request.resolver_match.route}"
    if scope not in key.scopes:
        raise ScopeMissing(scope=scope)
    known: ApiRequest = request  # type: ignore[assignment]  # it gets what makes it one here
    known.tenant = key.tenant
    known.actor = Actor(kind="key", name=key.prefix, origin=origin)
    return known


def door(
    scope: str,
) -> Callable[
    [Callable[Concatenate[ApiRequest, P], HttpResponseBase]],
    Callable[Concatenate[HttpRequest, P], HttpResponseBase],
]:
    """Let a view in only with a key that has `scope`."""

    def guard(
        view: Callable[Concatenate[ApiRequest, P], HttpResponseBase],
    ) -> Callable[Concatenate[HttpRequest, P], HttpResponseBase]:
        @functools.wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            known = identify(request, scope)
            with fence.within(known.tenant.pk):
                return view(known, *args, **kwargs)

        return guarded

    return guard


class Later(HttpResponse):
    """An answer that is there when a run has ended, or time is up.

    Whoever serves it (orchestrator.asgi) awaits `wait` and then sends what `settle` gives: meanwhile
    the client holds neither a thread nor a database connection."""

    def __init__(self, request: ApiRequest, outcome: UntilEnd) -> None:
        super().__init__(status=outcome.status)
        self._request = request
        self._outcome = outcome
        self.tenant_id = request.tenant.pk

    async def wait(self) -> None:
        """Return when the run has ended or time is up."""
        await wait_for_end(self._outcome.run_id, self._outcome.seconds)

    def settle(self) -> HttpResponse:
        """The answer by now."""
        tenant = self._request.tenant
        try:
            with fence.within(tenant.pk):
                run = run_view(tenant=tenant, run_id=self._outcome.run_id)
                status = 200 if run["state"] in TERMINAL_RUN else self._outcome.status
                return answer(run, status, headers=self._outcome.headers)
        except MillraceError as error:
            return refuse(error)
        except Exception as error:
            return unexpected(error)


def waiting_door(
    scope: str,
) -> Callable[
    [Callable[Concatenate[ApiRequest, P], HttpResponse | UntilEnd]],
    Callable[Concatenate[HttpRequest, P], HttpResponse],
]:
    """The same for a view whose client may wait for a run's end."""

    def guard(
        view: Callable[Concatenate[ApiRequest, P], HttpResponse | UntilEnd],
    ) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
        @functools.wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            known = identify(request, scope)
            with fence.within(known.tenant.pk):
                outcome = view(known, *args, **kwargs)
            return Later(known, outcome) if isinstance(outcome, UntilEnd) else outcome

        return guarded

    return guard
