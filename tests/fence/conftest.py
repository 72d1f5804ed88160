from __future__ import annotations

from uuid import uuid4

import pytest

from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_tenant


def _tenant() -> Tenant:
    return create_tenant(slug=f"t{uuid4().hex[:12]}", actor=SYSTEM)


@pytest.fixture
def one(db: None) -> Tenant:
    return _tenant()


@pytest.fixture
def other(db: None) -> Tenant:
    return _tenant()
