"""The admin of people and keys: doorways to the services, each change audited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from tenants import keys, services
from tenants.actors import Actor
from tenants.errors import TenantsError
from tenants.models import ApiKey, AuditEntry, Membership, Role


def actor_of(request: HttpRequest) -> Actor:
    """The person behind a request, for the audit log."""
    return Actor(
        kind="user",
        name=request.user.get_username(),
        origin=request.META.get("REMOTE_ADDR") or "",
    )


class ReadOnlyAdmin(ModelAdmin):
    """Rows that can be looked at and nothing else."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class RefusingAdmin(ModelAdmin):
    """What a service refuses is said above the list, and nothing of it is done."""

    def changeform_view(self, request: HttpRequest, *args: Any, **more: Any) -> HttpResponse:
        return self._or_said(request, super().changeform_view, *args, **more)

    def delete_view(self, request: HttpRequest, *args: Any, **more: Any) -> HttpResponse:
        return self._or_said(request, super().delete_view, *args, **more)

    def changelist_view(self, request: HttpRequest, *args: Any, **more: Any) -> HttpResponse:
        return self._or_said(request, super().changelist_view, *args, **more)

    def _or_said(
        self, request: HttpRequest, view: Callable[..., HttpResponse], *args: Any, **more: Any
    ) -> HttpResponse:
        """What the view does, or why nothing was done."""
        try:
            with transaction.atomic():
                return view(request, *args, **more)
        except TenantsError as error:
            self.message_user(request, error.message, messages.ERROR)
            return redirect(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")


admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(RefusingAdmin, DjangoUserAdmin, ModelAdmin):  # type: ignore[type-arg]  # it takes none when it runs
    """People; staff set limits and see every tenant."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "is_active", "is_staff", "last_login")
    list_filter = ("is_active", "is_staff")
    filter_horizontal = ()
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Letters", {"fields": ("email",)}),
        ("Rights", {"fields": ("is_active", "is_staff", "is_superuser")}),
        ("Times", {"fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ("last_login", "date_joined")
    actions = ("end_sessions", "remove_totp")

    @admin.action(description="End their sessions", permissions=["change"])
    def end_sessions(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Sign the chosen people out everywhere."""
        actor = actor_of(request)
        count = sum(services.end_sessions(user=user, actor=actor) for user in queryset)
        self.message_user(request, f"{count} sessions have ended.")

    @admin.action(description="Take the second factor away", permissions=["change"])
    def remove_totp(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """For those who have lost their phone and their recovery codes."""
        actor = actor_of(request)
        count = sum(services.remove_totp(user=user, actor=actor) for user in queryset)
        self.message_user(request, f"{count} second factors are gone.")

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Save and write the audit row (never the password)."""
        before = services.user_facts(User.objects.get(pk=obj.pk)) if change else {}
        super().save_model(request, obj, form, change)
        after = {
            name: value
            for name, value in services.user_facts(obj).items()
            if name not in before or before[name] != value
        }
        if after:
            services.record(
                tenant=None,
                actor=actor_of(request),
                action="user.changed" if change else "user.created",
                target=obj.get_username(),
                before={name: before[name] for name in after} if change else None,
                after=after,
            )

    def user_change_password(
        self,
        request: HttpRequest,
        id: str,  # noqa: A002  Django's name for it
        form_url: str = "",
    ) -> HttpResponse:
        """A password set or taken away: audited here, since Django saves it past `save_model`; their
        sessions end, but for the one in which this is done."""
        with transaction.atomic():
            found = self.get_object(request, unquote(id))
            answer = super().user_change_password(request, id, form_url)
            assert found is not None  # else: 404
            user = User.objects.get(pk=found.pk)
            if user.password != found.password:
                actor, usable = actor_of(request), user.has_usable_password()
                services.record(
                    tenant=None,
                    actor=actor,
                    action="password.set",
                    target=user.get_username(),
                    after=None if usable else {"usable": False},
                )
                services.end_sessions(user=user, but=request.session.session_key, actor=actor)
        return answer

    def delete_model(self, request: HttpRequest, obj: User) -> None:
        services.delete_user(user=obj, actor=actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        for user in queryset:
            self.delete_model(request, user)


@admin.register(Membership)
class MembershipAdmin(RefusingAdmin):
    """Who may do what in which tenant."""

    list_display = ("tenant", "user", "role", "last_used_at")
    list_filter = ("role",)
    search_fields = ("tenant__slug", "user__username")
    list_select_related = ("tenant", "user")
    fields = ("tenant", "user", "role")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("tenant", "user") if obj else ()

    def save_model(self, request: HttpRequest, obj: Membership, form: Any, change: bool) -> None:
        """Through the service, so that it is audited."""
        member = services.set_member(
            tenant=obj.tenant, user=obj.user, role=Role(obj.role), actor=actor_of(request)
        )
        obj.pk = member.pk
        obj._state.adding = False

    def delete_model(self, request: HttpRequest, obj: Membership) -> None:
        services.remove_member(member=obj, actor=actor_of(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Membership]) -> None:
        for member in queryset.select_related("tenant", "user"):
            self.delete_model(request, member)


class ApiKeyForm(forms.ModelForm):  # type: ignore[type-arg]  # it takes none when it runs
    """A new key; all scopes unless some are unticked."""

    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in keys.SCOPES],
        initial=list(keys.SCOPES),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )

    class Meta:
        model = ApiKey
        fields = ("tenant", "name", "scopes", "expires_at")
        widgets: ClassVar = {"name": UnfoldAdminTextInputWidget()}


@admin.register(ApiKey)
class ApiKeyAdmin(RefusingAdmin):
    """Keys of programs: made here, shown once, revoked, never changed."""

    form = ApiKeyForm
    list_display = (
        "prefix",
        "tenant",
        "name",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    search_fields = ("prefix", "name", "tenant__slug")
    list_select_related = ("tenant",)
    actions = ("rotate", "revoke")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        shown = ("tenant", "name", "scopes", "expires_at")
        return (*shown, "prefix", "created_at", "last_used_at", "revoked_at") if obj else shown

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is None and super().has_change_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """Make the key and show it, this once."""
        key, raw = services.create_api_key(
            tenant=obj.tenant,
            name=obj.name,
            scopes=form.cleaned_data["scopes"],
            expires_at=obj.expires_at,
            actor=actor_of(request),
        )
        obj.__dict__.update(key.__dict__)
        self.message_user(request, f"The key, shown this once: {raw}", messages.WARNING)

    @admin.action(description="Rotate: the present one counts a day more", permissions=["change"])
    def rotate(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Put new keys in the place of the chosen ones, and show them, this once."""
        for key in queryset.select_related("tenant"):
            try:
                _, raw = services.rotate_api_key(key=key, actor=actor_of(request))
            except TenantsError as error:
                self.message_user(request, f"{key.prefix}: {error.message}", messages.ERROR)
            else:
                said = f"In the place of {key.prefix}, shown this once: {raw}"
                self.message_user(request, said, messages.WARNING)

    @admin.action(description="Revoke", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """End the chosen keys."""
        count = sum(
            services.revoke_api_key(key=key, actor=actor_of(request))
            for key in queryset.select_related("tenant")
        )
        self.message_user(request, f"{count} revoked.")


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Who did what."""

    list_display = ("at", "tenant", "actor", "action", "target", "origin")
    list_filter = ("action",)
    search_fields = ("actor", "target", "tenant__slug")
    list_select_related = ("tenant",)
    ordering = ("-id",)
    show_full_result_count = False
    fields = ("at", "tenant", "actor", "action", "target", "before", "after", "origin")
