"""Requests of people: nobody's until a view knows whose tenant they are about."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from tenants.fence.standing import NOBODY, as_


class Fence:
    """The first of the middleware."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """One request."""
        with as_(NOBODY):
            return self._get_response(request)
