"""Shares of tenants among the claims."""

from __future__ import annotations

from collections import Counter

import pytest

from orchestrator.services.runs import submit_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import connect
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.engine import Engine


def busy(slug: str) -> Tenant:
    """A tenant with sixty steps that are ready, and room for all of them."""
    tenant = create_tenant(slug=slug, max_connections=100, actor=SYSTEM)
    steps = [{"name": f"s{n}", "handler": "core.echo", "args": {}} for n in range(60)]
    publish_workflow(tenant=tenant, name="w", document={"steps": steps}, actor=SYSTEM)
    submit_run(tenant=tenant, workflow="w", body={}, actor=SYSTEM)
    return tenant


@pytest.mark.django_db(transaction=True)
def test_a_tenant_whose_row_is_locked_keeps_its_share() -> None:
    locked, other = busy("locked"), busy("other")
    engine = Engine()
    engine.join()
    with connect(name="holder") as holder, holder.transaction():
        holder.execute("SELECT FROM tenant_load WHERE tenant_id = %s FOR UPDATE", [locked.pk])
        passed = [claim for _ in range(10) for claim in engine.claim(2)]
        assert Counter(claim.tenant_id for claim in passed) == {other.pk: 20}
    after = [claim for _ in range(10) for claim in engine.claim(2)]
    assert Counter(claim.tenant_id for claim in after)[locked.pk] >= 19
    later = [claim for _ in range(10) for claim in engine.claim(2)]
    assert 9 <= Counter(claim.tenant_id for claim in later)[locked.pk] <= 11


def test_a_tenant_that_was_idle_saves_nothing_up(db: None) -> None:
    first = busy("first")
    engine = Engine()
    engine.join()
    for _ in range(10):
        engine.claim(2)
    second = busy("second")
    shared = [claim for _ in range(10) for claim in engine.claim(2)]
    found = Counter(claim.tenant_id for claim in shared)
    assert 9 <= found[first.pk] <= 11
    assert found[first.pk] + found[second.pk] == 20
