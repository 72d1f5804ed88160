from __future__ import annotations

from collections.abc import Callable
from uuid import uuid4

import pytest

from tenants.actors import SYSTEM
from tenants.models import Tenant
from tenants.services import create_api_key, create_tenant
from tests.api.client import Api
from tests.engine import Engine

ECHO = {"steps": [{"name": "say", "handler": "core.echo", "args": {"text": "${{ input.text }}"}}]}


@pytest.fixture
def tenant(db: None) -> Tenant:
    return create_tenant(slug=f"t{uuid4().hex[:12]}", actor=SYSTEM)


@pytest.fixture
def key_of() -> Callable[..., Api]:
    """A client with a key of a tenant that has these scopes (all unless some are given)."""

    def make(tenant: Tenant, *scopes: str) -> Api:
        return Api(create_api_key(tenant=tenant, scopes=scopes or None, actor=SYSTEM)[1])

    return make


@pytest.fixture
def api(tenant: Tenant, key_of: Callable[..., Api]) -> Api:
    return key_of(tenant)


@pytest.fixture
def stranger(db: None, key_of: Callable[..., Api]) -> Api:
    """A client of another tenant."""
    return key_of(create_tenant(slug=f"s{uuid4().hex[:12]}", actor=SYSTEM))


@pytest.fixture
def echo(api: Api) -> str:
    """A published workflow of one step."""
    assert api.put("/workflows/echo", ECHO).status == 201
    return "echo"


@pytest.fixture
def engine(db: None) -> Engine:
    return Engine()
