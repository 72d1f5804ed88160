from __future__ import annotations

import pytest

from orchestrator.services.workflows import publish_workflow
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.engine import Engine
from tests.schedules.shop import STEPS


@pytest.fixture
def tenant(db: None) -> Tenant:
    """A tenant with the workflow `import`."""
    made = create_tenant(slug="shop", actor=SYSTEM)
    publish_workflow(tenant=made, name="import", document={"steps": STEPS}, actor=SYSTEM)
    return made


@pytest.fixture
def engine(tenant: Tenant) -> Engine:
    return Engine()
