"""What staff see and set: all tenants with their use and shares, and the limits of one."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from dashboard.views.actions import actor_of
from dashboard.views.show import switcher
from orchestrator.domain.errors import InvalidCursor
from orchestrator.selectors.fairness import last_minute
from orchestrator.selectors.impact import Impact, impact
from orchestrator.selectors.load import list_tenants_load, server_use, tenants_count
from orchestrator.selectors.quota import last_changes, limits_in_use
from orchestrator.services import limits
from tenants import fence, services
from tenants.access import access_tenant
from tenants.errors import TenantNotFound, TenantsError
from tenants.forms import LimitsForm
from tenants.models import Quota, Tenant

ROWS = 100
POLL_S = 2
"""How often the list is asked for anew while it is open."""


def staff_or_404(request: HttpRequest) -> None:
    """See every tenant's rows for the rest of the request; 404 for whoever is not staff."""
    if not getattr(request.user, "is_staff", False):
        raise Http404
    fence.enter_staff()


@login_required
@require_safe
def staff_tenants(request: HttpRequest) -> HttpResponse:
    """All tenants with their use against their limits, and their shares (staff; 404 for others)."""
    staff_or_404(request)
    seen = last_minute()
    text, cursor = request.GET.get("q", "").replace("\0", "")[:100], request.GET.get("cursor")
    try:
        rows, after = list_tenants_load(shares=seen.shares, text=text, limit=ROWS, cursor=cursor)
    except InvalidCursor:
        cursor = None
        rows, after = list_tenants_load(shares=seen.shares, text=text, limit=ROWS)
    context = {
        "rows": rows,
        "count": tenants_count(),
        "text": text,
        "next_cursor": after,
        "is_later": bool(cursor),
        "server": server_use(),
        "jain": seen.jain,
        **switcher(request),
        "page_name": "staff_tenants",
        "poll_s": POLL_S,
    }
    return render(request, "dashboard/staff_tenants.html", context)


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def staff_tenant(request: HttpRequest, slug: str) -> HttpResponseBase:
    """The limits of a tenant: looked at, previewed, set; the tenant suspended and resumed (staff)."""
    staff_or_404(request)
    try:
        tenant = access_tenant(user=request.user, slug=slug).tenant
    except TenantNotFound as error:
        raise Http404(error.message) from error
    quota = Quota.objects.get(tenant=tenant)
    if request.method != "POST":
        return _page(request, tenant, LimitsForm(None, quota=quota))
    wanted = request.POST.get("do")
    if wanted not in ("preview", "save"):
        _act(request, tenant, wanted or "")
        return redirect("staff_tenant", slug=slug)
    form = LimitsForm(request.POST.dict(), quota=quota)
    if not form.is_valid():
        return _page(request, tenant, form, status=422)
    try:
        until = limits.read_until(form.cleaned_data["until"])
        if wanted == "preview":
            found = impact(tenant=tenant, changes=form.changes())  # type: ignore[arg-type]
            return _page(request, tenant, form, found)
        limits.change_quota(
            tenant=tenant,
            actor=actor_of(request),
            reason=form.cleaned_data["reason"],
            until=until,
            **form.changes(),  # type: ignore[arg-type]
        )
    except TenantsError as error:
        form.add_error("until", error.message)
        return _page(request, tenant, form, status=422)
    said = "They act at once." if form.changes() else "Nothing was changed."
    messages.success(request, f"The limits of {tenant.slug} are saved. {said}")
    return redirect("staff_tenant", slug=slug)


def _act(request: HttpRequest, tenant: Tenant, wanted: str) -> None:
    """End what was set for a time or keep it for good, suspend, resume."""
    actor, reason = actor_of(request), request.POST.get("reason", "").strip()[:1000]
    action, _, name = wanted.partition(" ")
    if action == "end" and limits.end_override(tenant=tenant, name=name, actor=actor):
        messages.success(request, f"{name} is what it was before.")
    elif action == "keep" and services.keep_override(
        tenant=tenant, name=name, actor=actor, reason=reason
    ):
        messages.success(request, f"{name} is for good what it was set to for a time.")
    elif action == "suspend" and not reason:
        messages.error(request, "Say why the tenant is suspended.")
    elif action == "suspend" and services.suspend(tenant=tenant, reason=reason, actor=actor):
        messages.success(request, "It is suspended: what runs ends, the rest waits.")
    elif action == "resume" and limits.resume_tenant(tenant=tenant, actor=actor):
        messages.success(request, "It goes on.")
    else:
        messages.error(request, "Nothing was changed.")


def _page(
    request: HttpRequest,
    about: Tenant,
    form: LimitsForm,
    impacts: list[Impact] | None = None,
    status: int = 200,
) -> HttpResponse:
    fields = [(row, form[row.name]) for row in limits_in_use(tenant=about)]
    context = {
        "about": about,
        "form": form,
        "rows": [(row, field, field.as_hidden(only_initial=True)) for row, field in fields],
        "impacts": impacts,
        "changes": last_changes(tenant=about),
        "share": last_minute().shares.get(about.pk),
        **switcher(request),
        "page_name": "staff_tenants",
    }
    return render(request, "dashboard/staff_tenant.html", context, status=status)
