"""The admin of the server's total."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import (
    QuerySet,
)
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextInputWidget

from orchestrator.models import ServerLoad
from orchestrator.selectors.load import server_use
from orchestrator.services import limits
from tenants.admin import actor_of


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
