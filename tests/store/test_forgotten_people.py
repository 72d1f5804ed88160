"""Sessions and invitations whose time is long over go; the others stay."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from orchestrator import store
from orchestrator.store import people
from tenants import services
from tenants.actors import COMMAND
from tenants.models import Invitation, Role, Session

pytestmark = pytest.mark.django_db


def test_sessions_that_have_expired() -> None:
    user = services.create_user(name="ann", password=None, actor=COMMAND)
    for _ in range(3):
        Client().force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    old = [row.pk for row in Session.objects.all()[:2]]
    Session.objects.filter(pk__in=old).update(expire_date=timezone.now() - timedelta(seconds=1))
    assert people.forget_sessions(store.connection(), limit=1) == 1
    assert people.forget_sessions(store.connection(), limit=10) == 1
    assert people.forget_sessions(store.connection(), limit=10) == 0
    assert not Session.objects.filter(pk__in=old).exists()
    assert Session.objects.count() == 1


def test_invitations_that_were_over_long_ago() -> None:
    tenant = services.create_tenant(slug="mill", actor=COMMAND)
    for days in (89, 91):
        made, _ = services.invite(tenant=tenant, role=Role.VIEWER, link=str, actor=COMMAND)
        ended = timezone.now() - timedelta(days=days)
        Invitation.objects.filter(pk=made.pk).update(expires_at=ended)
    assert people.forget_invitations(store.connection(), limit=10) == 1
    assert people.forget_invitations(store.connection(), limit=10) == 0
    assert Invitation.objects.get().expires_at > timezone.now() - timedelta(days=90)
