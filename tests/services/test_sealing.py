"""Another SECRET_KEY: everything is sealed anew, and the old one may go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import models
from django.test import override_settings

from orchestrator.models import Channel, Trigger
from orchestrator.services.channel_secrets import opened
from orchestrator.services.channels import create_channel
from orchestrator.services.sealing import SEALED, reseal_all
from orchestrator.services.triggers import create_trigger, rotate_trigger
from orchestrator.services.workflows import publish_workflow
from tenants.actors import COMMAND
from tenants.models import AuditEntry, Secret, Tenant
from tenants.sealing import reseal, seal, unseal
from tenants.services import create_secret, create_tenant

PLAIN = {
    "tenants.ApiKey.digest",
    "tenants.Invitation.digest",
    "tenants.RecoveryCode.digest",
    "orchestrator.Payload.data",
}
"""Bytes that are not sealed."""


@pytest.fixture
def tenant(db: None) -> Iterator[Tenant]:
    with override_settings(SECRET_KEY="old", SECRET_KEY_FALLBACKS=[]):
        tenant = create_tenant(slug="t", actor=COMMAND)
        create_secret(tenant=tenant, name="A", value="kept-value", actor=COMMAND)
        steps = [{"name": "a", "handler": "core.echo"}]
        publish_workflow(tenant=tenant, name="w", document={"steps": steps}, actor=COMMAND)
        create_trigger(tenant=tenant, body={"name": "h", "workflow": "w"}, actor=COMMAND)
        hook = {"name": "c", "kind": "webhook", "url": "https://example.org/hook"}
        create_channel(tenant=tenant, body=hook, actor=COMMAND)
        rotate_trigger(tenant=tenant, name="h", body={}, actor=COMMAND)
        yield tenant


def test_every_sealed_column_is_known() -> None:
    found = {
        f"{model._meta.app_label}.{model.__name__}.{field.name}"
        for model in apps.get_models()
        if model._meta.app_label in ("tenants", "orchestrator")
        for field in model._meta.get_fields()
        if isinstance(field, models.BinaryField)
    }
    sealed = {f"{model._meta.app_label}.{model.__name__}.{name}" for model, name, _ in SEALED}
    unsealed = {name for name in found - sealed if "rollup" not in name.lower()}
    assert sealed <= found
    assert unsealed == PLAIN


def test_it_is_sealed_under_the_new_key_and_the_old_one_may_go(
    tenant: Tenant, capsys: pytest.CaptureFixture[str]
) -> None:
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=["old"]):
        call_command("secrets_reseal")
        assert capsys.readouterr().out.startswith("5 sealed anew")
        assert reseal_all(actor=COMMAND) == 0
    with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=[]):
        assert unseal(bytes(Secret.objects.get().sealed), purpose="secrets") == "kept-value"
        trigger = Trigger.objects.get()
        for token in (trigger.secret, trigger.previous):
            assert unseal(bytes(token or b""), purpose="trigger secrets").startswith("mrwh_")
        kept = opened(bytes(Channel.objects.get().sealed or b""))
        assert kept["url"] == "https://example.org/hook"
    assert AuditEntry.objects.get(action="sealed.resealed").after == {"count": 5}


def test_without_the_old_key_nothing_is_changed(tenant: Tenant) -> None:
    before = bytes(Secret.objects.get().sealed)
    with (
        override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=[]),
        pytest.raises(CommandError, match="SECRET_KEY_FALLBACKS"),
    ):
        call_command("secrets_reseal")
    assert bytes(Secret.objects.get().sealed) == before


def test_what_is_sealed_so_already_stays() -> None:
    with override_settings(SECRET_KEY="new"):
        assert reseal(seal("x", purpose="p"), purpose="p") is None
