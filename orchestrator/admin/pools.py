"""The admin of the server's pools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db.models import (
    QuerySet,
)
from django.http import HttpRequest, HttpResponseRedirect
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextInputWidget

from orchestrator.domain.errors import Invalid, PoolInUse
from orchestrator.models import Pool
from orchestrator.services.pools import LARGEST_LIMIT, change_pool, create_pool, delete_pool
from tenants.admin import actor_of
from tenants.errors import AlreadyThere


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
