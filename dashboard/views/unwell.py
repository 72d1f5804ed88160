"""What is answered while the database does not answer, and nobody can be recognised."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.db import OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string
from django.views.defaults import server_error as ordinary

from dashboard.pages.health import LOOKS
from orchestrator.domain.health import CHECKS, State
from orchestrator.selectors.health import checks, database_ready

GONE = {None, "57P01", "57P02", "57P03", "53300"}
"""SQLSTATEs of a database that is away, goes, comes, or takes no more connections."""
View = Callable[..., HttpResponseBase]


def while_down(view: View) -> View:
    """A page that says how the server is even while nobody can sign in: then states, and no more."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if "again" in request.GET:
            return unwell(request)
        if database_ready().state is not State.OK:
            return unwell(request)
        return view(request, *args, **kwargs)

    return answer


def server_error(request: HttpRequest) -> HttpResponseBase:
    """Django's page of an error that nobody has caught; of a database that is away, what that means."""
    error = sys.exc_info()[1]
    if isinstance(error, OperationalError) and getattr(error.__cause__, "sqlstate", None) in GONE:
        return unwell(request)
    return ordinary(request)


def unwell(request: HttpRequest) -> HttpResponse:
    """The states of the parts, for whoever asks: a word each, nothing that was seen.

    200 once the database answers again; the page asks every few seconds by itself."""
    is_back = database_ready().state is State.OK
    rows = [
        {"title": CHECKS[check.name].title, "look": LOOKS[str(check.state)]}
        for check in ([] if is_back else checks())
        if check.name in ("database", "broker", "channel_layer", "disk")
    ]
    context = {"is_back": is_back, "rows": rows, "path": request.path}
    template = "503.html#now" if "again" in request.GET else "503.html"
    answer = HttpResponse(render_to_string(template, context), status=200 if is_back else 503)
    answer["Cache-Control"] = "no-store"
    if not is_back:
        answer["Retry-After"] = "5"
    return answer
