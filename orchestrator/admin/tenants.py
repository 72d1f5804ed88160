"""The admin of tenants: their use against each limit, and the form of limits with its preview."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import (
    BigIntegerField,
    Count,
    IntegerField,
    OuterRef,
    QuerySet,
    Subquery,
)
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import ActionForm
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from orchestrator.models import Storage, TenantLoad
from orchestrator.selectors.impact import Impact, impact
from orchestrator.selectors.quota import last_changes
from orchestrator.services import limits
from tenants import services
from tenants.admin import actor_of
from tenants.errors import InvalidValue
from tenants.forms import UNTIL_HELP, compare_with_shown, initial_limits, limit_field
from tenants.limits import BY_NAME
from tenants.models import Quota, Tenant

PREVIEW = "_preview"
NOW = ("state", "connections", "active_runs", "ready", "stored", "created_at")


def _limit(name: str) -> forms.Field:
    """The form field of a limit, with the model's range."""
    return limit_field(BY_NAME[name], UnfoldAdminTextInputWidget)


class TenantForm(forms.ModelForm):  # type: ignore[type-arg]  # it takes none when it runs
    """A tenant and its limits in one form; sent by its button Preview, nothing is saved."""

    drop_outputs = forms.BooleanField(
        required=False,
        help_text="Drop steps' outputs once their run has succeeded, unless it can be undone.",
        widget=UnfoldBooleanWidget(),
    )
    until = forms.CharField(
        required=False, help_text=UNTIL_HELP, widget=UnfoldAdminTextInputWidget()
    )
    reason = forms.CharField(
        required=False,
        help_text="Why the limits change; kept in their history and in the audit log.",
        widget=UnfoldAdminTextInputWidget(),
    )

    class Meta:
        model = Tenant
        fields = ("slug", "name")
        widgets: ClassVar = {
            "slug": UnfoldAdminTextInputWidget(),
            "name": UnfoldAdminTextInputWidget(),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        quota = Quota.objects.filter(tenant=self.instance.pk).first() or Quota()
        present = {**initial_limits(quota), "drop_outputs": not quota.keep_outputs}
        for name, value in present.items():
            self.fields[name].initial = value
        compare_with_shown(self, {**present, "name": self.instance.name})

    def clean_until(self) -> datetime | None:
        """A moment, or None."""
        try:
            return limits.read_until(self.cleaned_data["until"])
        except InvalidValue as error:
            raise forms.ValidationError(error.message) from None

    def is_valid(self) -> bool:
        """Whether it can be saved: what is only previewed cannot."""
        return bool(super().is_valid()) and PREVIEW not in self.data

    def changes(self) -> dict[str, Any]:
        """The limits that are to be others than they were shown."""
        return {name: self.cleaned_data[name] for name in self.changed_data if name in BY_NAME}

    def impacts(self) -> list[Impact] | None:
        """What is previewed; None: nothing is."""
        if PREVIEW not in self.data or self.errors or not self.instance.pk:
            return None
        return impact(tenant=self.instance, changes=self.changes())


# both, since the admin derives a class of it
for _fields in (TenantForm.base_fields, TenantForm.declared_fields):
    _fields |= {name: _limit(name) for name in BY_NAME}


class ReasonForm(ActionForm):
    """The bar of actions: the reason of a suspension or a boost; of the latter, how many connections
    and until when."""

    reason = forms.CharField(
        required=False,
        label="",
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "Reason", "aria-label": "Reason"}),
    )
    connections = forms.IntegerField(
        required=False,
        min_value=0,
        label="",
        widget=UnfoldAdminTextInputWidget(
            attrs={"placeholder": "Connections (boost)", "aria-label": "Connections of a boost"}
        ),
    )
    until = forms.CharField(
        required=False,
        label="",
        widget=UnfoldAdminTextInputWidget(
            attrs={"placeholder": "Until, such as 2h (boost)", "aria-label": "End of a boost"}
        ),
    )


def _of(use: int, limit: int | None) -> str:
    """A use, of its limit if there is one."""
    return f"{use:,}" if limit is None else f"{use:,} of {limit:,}"


@admin.register(Tenant)
class TenantAdmin(ModelAdmin):
    """Tenants with their use against their limits."""

    form = TenantForm
    action_form = ReasonForm
    change_form_template = "admin/tenant_limits.html"
    list_display = (
        "slug", "name", "state", "connections", "active_runs", "ready", "stored", "weight", "for_a_time",
    )  # fmt: skip
    search_fields = ("slug", "name")
    list_filter = (("suspended_at", admin.EmptyFieldListFilter),)
    actions = ("boost", "suspend", "resume")
    fieldsets = (
        (None, {"fields": ("slug", "name")}),
        ("Limits", {"fields": (*BY_NAME, "drop_outputs", "until", "reason")}),
        ("Now", {"fields": NOW}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        """With each tenant's use, in one statement; the server's own tenant is nobody's to change."""
        load = TenantLoad.objects.filter(tenant_id=OuterRef("pk"))
        stored = Storage.objects.filter(tenant_id=OuterRef("pk"))
        tenants: QuerySet[Tenant] = super().get_queryset(request)
        return (
            tenants.filter(is_system=False)
            .select_related("quota")
            .annotate(
                in_use=Coalesce(Subquery(load.values("in_use"), output_field=IntegerField()), 0),
                waiting=Coalesce(
                    Subquery(load.values("ready_count"), output_field=IntegerField()), 0
                ),
                active=Coalesce(
                    Subquery(load.values("active_runs"), output_field=IntegerField()), 0
                ),
                bytes=Coalesce(Subquery(stored.values("bytes"), output_field=BigIntegerField()), 0),
                overrides=Count("quota_overrides"),
            )
        )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """A tenant that is being made has no "now"."""
        found = super().get_fieldsets(request, obj)
        return found if obj else found[:2]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("slug", *NOW) if obj else NOW

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """With what a preview found, and the limits' history."""
        context["impacts"] = context["adminform"].form.impacts()
        tenant = context.get("original")
        context["quota_changes"] = last_changes(tenant=tenant) if tenant else []
        return super().render_change_form(request, context, *args, **kwargs)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: what a tenant did stays on record; suspend it."""
        return False

    @admin.display(description="Connections")
    def connections(self, tenant: Any) -> str:
        """In use, of the limit."""
        return f"{tenant.in_use} of {tenant.quota.max_connections}" if tenant.pk else "–"

    @admin.display(description="Ready steps", ordering="waiting")
    def ready(self, tenant: Any) -> str:
        """Steps that wait for a connection."""
        return _of(tenant.waiting, tenant.quota.max_waiting_steps) if tenant.pk else "–"

    @admin.display(description="Active runs", ordering="active")
    def active_runs(self, tenant: Any) -> str:
        """Runs that have not ended."""
        return _of(tenant.active, tenant.quota.max_active_runs) if tenant.pk else "–"

    @admin.display(description="Storage", ordering="bytes")
    def stored(self, tenant: Any) -> str:
        """Payloads that are kept, in bytes."""
        return _of(tenant.bytes, tenant.quota.max_storage_bytes) if tenant.pk else "–"

    @admin.display(description="For a time")
    def for_a_time(self, tenant: Any) -> str:
        """How many limits come back by themselves."""
        return str(tenant.overrides or "–")

    @admin.display(ordering="quota__weight")
    def weight(self, tenant: Any) -> str:
        """Its share when tenants compete."""
        return f"{tenant.quota.weight:g}"

    @admin.display(description="State")
    def state(self, tenant: Any) -> str:
        """Active, or suspended and why."""
        if tenant.suspended_at is None:
            return "Active"
        return f"Suspended: {tenant.suspended_reason}" if tenant.suspended_reason else "Suspended"

    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        """Through the services: audited, and idle workers look at once."""
        values = form.changes()
        if change:
            if "name" in form.changed_data:
                services.rename(tenant=obj, name=obj.name, actor=actor_of(request))
            tenant = obj
        else:
            tenant = services.create_tenant(slug=obj.slug, name=obj.name, actor=actor_of(request))
            obj.__dict__.update(tenant.__dict__)
        if values:
            limits.change_quota(
                tenant=tenant,
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
                until=form.cleaned_data["until"],
                **values,
            )
        if "drop_outputs" in form.changed_data:
            limits.change_quota(
                tenant=tenant,
                actor=actor_of(request),
                reason=form.cleaned_data["reason"],
                keep_outputs=not form.cleaned_data["drop_outputs"],
            )

    @admin.action(description="Boost connections until a time", permissions=["change"])
    def boost(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        """Set the connections of the chosen tenants until a time; then their own come back."""
        try:
            until = limits.read_until(request.POST.get("until", ""))
            wanted = request.POST.get("connections", "").strip()
            if until is None or not wanted.isdecimal():
                raise InvalidValue(
                    "until", "Say beside the action how many connections, and until when."
                )
            for tenant in queryset:
                limits.change_quota(
                    tenant=tenant,
                    actor=actor_of(request),
                    reason=request.POST.get("reason", ""),
                    until=until,
                    max_connections=int(wanted[:9]),
                )
        except InvalidValue as error:
            self.message_user(request, error.message, messages.ERROR)
            return
        self.message_user(request, f"{len(queryset)} boosted until {until:%Y-%m-%d %H:%M} UTC.")

    @admin.action(description="Suspend (with a reason)", permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        """Let nothing of the chosen tenants start."""
        reason = request.POST.get("reason", "").strip()
        if not reason:
            self.message_user(request, "Say the reason beside the action.", messages.ERROR)
            return
        count = sum(
            services.suspend(tenant=tenant, reason=reason, actor=actor_of(request))
            for tenant in queryset
        )
        self.message_user(request, f"{count} suspended.")

    @admin.action(description="Resume", permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[Tenant]) -> None:
        """Lift the suspension of the chosen tenants."""
        count = sum(
            limits.resume_tenant(tenant=tenant, actor=actor_of(request)) for tenant in queryset
        )
        self.message_user(request, f"{count} resumed.")
