"""The admin of limits: tenants with their use, and the server's total."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponseRedirect
from unfold.admin import ModelAdmin
from unfold.forms import ActionForm
from unfold.widgets import UnfoldAdminTextInputWidget, UnfoldBooleanWidget

from orchestrator.domain.errors import Invalid, PoolInUse
from orchestrator.models import Pool, ServerLoad, TenantLoad
from orchestrator.selectors.load import server_use
from orchestrator.services import limits
from orchestrator.services.pools import LARGEST_LIMIT, change_pool, create_pool, delete_pool
from tenants import services
from tenants.admin import actor_of
from tenants.errors import AlreadyThere
from tenants.models import Quota, Tenant

LIMITS = ("max_connections", "weight", "max_steps", "max_payload_bytes")


def _limit(name: str, help_text: str) -> forms.Field:
    """The form field of a limit, with the model's range."""
    limit = Quota._meta.get_field(name)
    field = limit.formfield(  # type: ignore[union-attr]
        help_text=help_text, widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"})
    )
    assert isinstance(field, forms.Field)
    field.validators.extend(limit.validators)  # type: ignore[union-attr]
    return field


class TenantForm(forms.ModelForm):  # type: ignore[type-arg]  # it takes none when it runs
    """A tenant and its limits in one form."""

    max_connections = _limit(
        "max_connections", "Steps that it may run at once. Acts within a second."
    )
    weight = _limit("weight", "Its share when tenants compete: 2 gets twice what 1 gets.")
    max_steps = _limit("max_steps", "Steps of a definition.")
    max_payload_bytes = _limit(
        "max_payload_bytes", "Largest request body, input or output, in bytes."
    )
    drop_outputs = forms.BooleanField(
        required=False,
        help_text="Drop steps' outputs once their run has succeeded, unless it can be undone.",
        widget=UnfoldBooleanWidget(),
    )
    reason = forms.CharField(
        required=False,
        help_text="Why the limits change; kept in the audit log.",
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
        for name in LIMITS:
            self.fields[name].initial = getattr(quota, name)
        self.fields["drop_outputs"].initial = not quota.keep_outputs


class ReasonForm(ActionForm):
    """The bar of actions, with the reason of a suspension."""

    reason = forms.CharField(
        required=False,
        label="",
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "Reason", "aria-label": "Reason"}),
    )


@admin.register(Tenant)
class TenantAdmin(ModelAdmin):
    """Tenants with their use against their limits."""

    form = TenantForm
    action_form = ReasonForm
    list_display = ("slug", "name", "state", "connections", "ready", "weight")
    search_fields = ("slug", "name")
    list_filter = (("suspended_at", admin.EmptyFieldListFilter),)
    actions = ("suspend", "resume")
    fieldsets = (
        (None, {"fields": ("slug", "name")}),
        ("Limits", {"fields": (*LIMITS, "drop_outputs", "reason")}),
        ("Now", {"fields": ("state", "connections", "ready", "created_at")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Tenant]:
        """With each tenant's use, in one statement."""
        load = TenantLoad.objects.filter(tenant_id=OuterRef("pk"))
        tenants: QuerySet[Tenant] = super().get_queryset(request)
        return tenants.select_related("quota").annotate(
            in_use=Coalesce(Subquery(load.values("in_use"), output_field=IntegerField()), 0),
            waiting=Coalesce(Subquery(load.values("ready_count"), output_field=IntegerField()), 0),
        )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """A tenant that is being made has no "now"."""
        found = super().get_fieldsets(request, obj)
        return found if obj else found[:2]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        shown = ("state", "connections", "ready", "created_at")
        return ("slug", *shown) if obj else shown

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
        return str(tenant.waiting) if tenant.pk else "–"

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
        values = {name: form.cleaned_data[name] for name in LIMITS}
        if change:
            Tenant.objects.filter(pk=obj.pk).update(name=obj.name)
            tenant = obj
        else:
            tenant = services.create_tenant(slug=obj.slug, name=obj.name, actor=actor_of(request))
            obj.__dict__.update(tenant.__dict__)
        limits.change_quota(
            tenant=tenant,
            actor=actor_of(request),
            reason=form.cleaned_data["reason"],
            keep_outputs=not form.cleaned_data["drop_outputs"],
            **values,
        )

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


class ServerForm(forms.ModelForm):  # type: ignore[type-arg]  # it takes none when it runs
    """The server's total."""

    max_connections = forms.IntegerField(
        min_value=0,
        max_value=limits.LARGEST_TOTAL,
        help_text="Steps that the whole server may run at once. Acts within a second.",
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"}),
    )
    reason = forms.CharField(required=False, widget=UnfoldAdminTextInputWidget())

    class Meta:
        model = ServerLoad
        fields = ("max_connections",)


@admin.register(ServerLoad)
class ServerAdmin(ModelAdmin):
    """The one row that says how many connections the server has in all."""

    form = ServerForm
    list_display = ("title", "use", "max_connections")
    fields = ("use", "max_connections", "reason")
    readonly_fields = ("use",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[ServerLoad]:
        """The row with the limit alone; the others are its counters."""
        rows: QuerySet[ServerLoad] = super().get_queryset(request)
        return rows.filter(slot=-1)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never: the rows are made with the tables."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Superusers."""
        return bool(request.user.is_active and getattr(request.user, "is_superuser", False))

    @admin.display(description="Server")
    def title(self, row: ServerLoad) -> str:
        """Its name in the list."""
        return "This server"

    @admin.display(description="In use")
    def use(self, row: ServerLoad) -> str:
        """Connections in use, of the limit."""
        seen = server_use()
        return f"{seen.in_use} of {seen.max_connections}"

    def save_model(self, request: HttpRequest, obj: ServerLoad, form: Any, change: bool) -> None:
        """Through the service: audited, and idle workers look at once."""
        limits.change_total(
            max_connections=form.cleaned_data["max_connections"],
            actor=actor_of(request),
            reason=form.cleaned_data["reason"],
        )


class PoolForm(forms.ModelForm):  # type: ignore[type-arg]  # it takes none when it runs
    """A pool of the server."""

    limit = forms.IntegerField(
        min_value=0,
        max_value=LARGEST_LIMIT,
        help_text="Steps of all tenants that may run at once; 0 pauses. Acts at once.",
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"}),
    )
    rate = forms.CharField(
        required=False,
        help_text="Starts in any window of a length, such as 100/1m; empty: no rate.",
        widget=UnfoldAdminTextInputWidget(),
    )

    class Meta:
        model = Pool
        fields = ("name",)
        widgets: ClassVar = {"name": UnfoldAdminTextInputWidget()}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.fields["limit"].initial = self.instance.max_places
            self.fields["rate"].initial = self.instance.rate

    def body(self) -> dict[str, object]:
        """What the service takes."""
        return {"limit": self.cleaned_data["limit"], "rate": self.cleaned_data["rate"] or None}


@admin.register(Pool)
class PoolAdmin(ModelAdmin):
    """The server's pools; a tenant's own are on its Pools page."""

    form = PoolForm
    list_display = ("name", "use", "rate", "updated_at")
    fields = ("name", "limit", "rate", "use")
    actions = None

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pool]:
        """Those of no tenant."""
        rows: QuerySet[Pool] = super().get_queryset(request)
        return rows.filter(tenant__isnull=True)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Its name is what definitions say: it stays."""
        return ("use", "name") if obj else ("use",)

    @admin.display(description="In use")
    def use(self, pool: Pool) -> str:
        """Places in use, of the limit."""
        return f"{pool.in_use} of {pool.max_places}" if pool.pk else "–"

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """What the service refuses is told above the form, and nothing is written."""
        return self._told(request, super().changeform_view, *args, **kwargs)

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """The same of a pool that is in use."""
        return self._told(request, super().delete_view, *args, **kwargs)

    def _told(
        self, request: HttpRequest, view: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        try:
            return view(request, *args, **kwargs)
        except Invalid as error:
            said = [f"{problem.path.strip('/')}: {problem.message}" for problem in error.problems]
        except (PoolInUse, AlreadyThere) as error:
            said = [error.message]
        self.message_user(request, "; ".join(said), messages.ERROR)
        return HttpResponseRedirect(request.get_full_path())

    def save_model(self, request: HttpRequest, obj: Pool, form: Any, change: bool) -> None:
        """Through the services: audited, and idle workers look at once."""
        actor = actor_of(request)
        if change:
            change_pool(tenant=None, name=obj.name, body=form.body(), actor=actor)
        else:
            body = {"name": obj.name, **form.body()}
            obj.__dict__.update(create_pool(tenant=None, body=body, actor=actor).__dict__)

    def delete_model(self, request: HttpRequest, obj: Pool) -> None:
        """Through the service: refused while it is in use."""
        delete_pool(tenant=None, name=obj.name, actor=actor_of(request))
