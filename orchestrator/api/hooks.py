"""`POST /hooks/{tenant}/{trigger}`: requests from outside, signed instead of keyed.  At the root."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from orchestrator.api.answers import answer
from orchestrator.api.bodies import too_large
from orchestrator.api.errors import plain, refuse, unexpected
from orchestrator.domain.errors import MillraceError
from orchestrator.services.hooks import LARGEST_BODY, receive
from tenants.errors import TenantsError


@csrf_exempt
def hook(request: HttpRequest, tenant: str, trigger: str) -> HttpResponse:
    """202 `{id}` with the run that the request starts, 200 with the first one of a repeated request."""
    if request.method != "POST":
        detail = "The address does not take this method; it takes POST."
        return plain(405, "Method not allowed", detail, "method_not_allowed", {"Allow": "POST"})
    try:
        body = _body(request)
        found = receive(
            slug=tenant,
            name=trigger,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=body,
            origin=request.META.get("REMOTE_ADDR") or "",
        )
    except (MillraceError, TenantsError) as error:
        return refuse(error)
    except Exception as error:
        return unexpected(error)
    headers = {"Idempotency-Replayed": "true"} if found.replayed else {}
    return answer({"id": found.run_id}, 200 if found.replayed else 202, headers=headers)


def _body(request: HttpRequest) -> bytes:
    """The body, as it was signed.  Raises TooLarge, whoever sent it."""
    declared = request.META.get("CONTENT_LENGTH") or "0"
    if declared.isdigit() and int(declared) > LARGEST_BODY:
        raise too_large(LARGEST_BODY)
    body: bytes = request.read(LARGEST_BODY + 1)
    if len(body) > LARGEST_BODY:
        raise too_large(LARGEST_BODY)
    return body


urlpatterns = [path("hooks/<str:tenant>/<str:trigger>", hook, name="hook")]
"""To be included at the root, beside the API."""
