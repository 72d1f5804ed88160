"""Secrets for claims: read together, for those that name some, and hidden in what comes of them."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest
from django.test import override_settings
from pytest_django.fixtures import DjangoAssertNumQueries

from orchestrator import store
from orchestrator.domain.expressions import ExpressionFailed
from orchestrator.executor import invoke, secrets
from orchestrator.executor.control import decide
from orchestrator.executor.plans import Plan, Plans
from orchestrator.executor.waits import Means
from orchestrator.handlers import registry
from orchestrator.store.settling import Settled
from orchestrator.store.work import Claimed, Completion, Verdict
from tenants.actors import SYSTEM
from tenants.models import Secret, Tenant
from tenants.services import create_secret, create_tenant

VALUE = "correct horse battery"
NAMES = {"name": "a", "handler": "core.echo", "args": {"x": "${{ secrets.TOKEN }}"}}


@pytest.fixture
def tenant(db: None) -> Tenant:
    tenant = create_tenant(slug="t", actor=SYSTEM)
    create_secret(tenant=tenant, name="TOKEN", value=VALUE, actor=SYSTEM)
    return tenant


def claim(tenant: Tenant, step: dict[str, Any], kind: str = "step") -> tuple[Claimed, Plans, Plan]:
    """A claim of a step, and the plans with its version."""
    plans = Plans(registry)
    document = {"name": "w", "steps": [step], "output": {"t": "${{ secrets.TOKEN }}"}}
    plan = plans._plans[1] = plans._build("t", json.dumps(document))
    row = Claimed(kind, tenant.pk, uuid4(), 0, 0, 1, 1, 0, 0, False, None, None, "{}",
                  "{}", [], [], [], False)  # fmt: skip
    return row, plans, plan


def opened(tenant: Tenant, step: dict[str, Any], kind: str = "step") -> tuple[Claimed, Plan]:
    row, plans, plan = claim(tenant, step, kind)
    return secrets.opening(store.connection(), plans, [row])[0], plan


def test_those_that_name_none_cost_no_statement(
    tenant: Tenant, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    row, plans, _ = claim(tenant, {"name": "a", "handler": "core.echo"})
    with django_assert_num_queries(0):
        assert secrets.opening(store.connection(), plans, [row]) == [row]
    assert Secret.objects.get().last_used_at is None
    assert not row.mask


def test_values_are_for_expressions_and_are_not_kept(tenant: Tenant) -> None:
    row, plan = opened(tenant, NAMES)
    args = invoke.arguments(plan, plan.steps[0], row)
    assert args == {"x": VALUE}
    assert invoke.kept(row, lambda: args) is None
    assert VALUE not in str(row.mask)
    assert Secret.objects.get().last_used_at is not None
    done = secrets.hide(
        Completion(
            row, "succeeded", 0.0, output=json.dumps(VALUE), error=f'"{VALUE}"', reason=VALUE
        )
    )
    assert (done.output, done.error, done.reason) == ('"***"', '"***"', "***")


def test_anothers_secret_is_not_found(tenant: Tenant) -> None:
    other = create_tenant(slug="o", actor=SYSTEM)
    row, plan = opened(other, NAMES)
    with pytest.raises(invoke.Fault, match="no secret TOKEN") as raised:
        invoke.arguments(plan, plan.steps[0], row)
    assert (raised.value.code, raised.value.retry) == ("expression", False)


def test_one_that_no_key_opens_says_so(tenant: Tenant) -> None:
    with override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=[]):
        row, plan = opened(tenant, NAMES)
    with pytest.raises(invoke.Fault, match="SECRET_KEY_FALLBACKS"):
        invoke.arguments(plan, plan.steps[0], row)
    assert row.secrets is not None
    with pytest.raises(ExpressionFailed):
        row.secrets.values["TOKEN"]


def test_control_work_is_hidden_too(tenant: Tenant) -> None:
    means = Means(store.connection, Plans(registry), 1_000_000)
    row, plan = opened(tenant, {"name": "a", "handler": "core.echo"}, "output")
    verdict = decide(plan, row, means)
    assert VALUE in str(verdict.value)
    assert secrets.hidden(verdict).value == '{"t":"***"}'
    told = Verdict(row, "skipped", f"for {VALUE}", json.dumps(VALUE))
    assert (secrets.hidden(told).value, secrets.hidden(told).fallback) == ("for ***", '"***"')
    settled = secrets.hidden(Settled(row, "waiting"))
    assert (settled.value, settled.fallback) == (None, None)
    plain = Verdict(row._replace(secrets=None), "ready")
    assert secrets.hidden(plain) is plain


def test_a_caches_key_is_no_place_to_try_values(tenant: Tenant) -> None:
    means = Means(store.connection, Plans(registry), 1_000_000)

    def key(text: object, salt: str = "one") -> str:
        step = {"name": "a", "handler": "core.echo", "cache": {"key": text, "ttl": "1m"},
                "if": "${{ secrets.TOKEN != '' }}"}  # fmt: skip
        row, plan = opened(tenant, step, "condition")
        with override_settings(SECRET_KEY=salt):
            found = decide(plan, row, means)
        return str(json.loads(found.value or "{}")["key"])

    assert key("${{ secrets.TOKEN }}") == key("${{ secrets.TOKEN }}")
    assert key("${{ secrets.TOKEN }}") != key(VALUE.upper())
    assert key("${{ secrets.TOKEN }}") != key("${{ secrets.TOKEN }}", salt="two")
    assert key("plain") == key("plain", salt="two")
