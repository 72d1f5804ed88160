"""Tenants with roles that are really there: what sessions log in to must be committed.

They are deleted one by one; emptying every table after each test would take most of the tests' time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from orchestrator.conf import conf
from orchestrator.services.sessions import make_pools
from orchestrator.store import for_a_moment
from tenants.actors import SYSTEM
from tenants.connections import Pools, Session, roles
from tenants.models import Tenant
from tenants.services import create_tenant
from tests.emptying import empty_audit

_numbers = count(1)


@pytest.fixture
def db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """pytest-django's of this name, without a transaction around the test."""
    with django_db_blocker.unblock(), for_a_moment():
        yield
        empty_audit()


@pytest.fixture
def make(db: None) -> Iterator[Callable[..., Tenant]]:
    """Makes tenants."""
    made: list[Tenant] = []

    def make(**more: Any) -> Tenant:
        made.append(create_tenant(slug=f"c{next(_numbers)}", actor=SYSTEM, **more))
        return made[-1]

    yield make
    for tenant in made:
        roles.drop(tenant_id=tenant.pk)
        tenant.delete()


@pytest.fixture
def tenant(make: Callable[..., Tenant]) -> Tenant:
    return make()


@pytest.fixture
def pools(make: Callable[..., Tenant]) -> Iterator[Pools]:
    """A process's sessions, where a step waits 2 s for its connection."""
    found = make_pools(replace(conf(), connection_wait_s=2.0))
    yield found
    found.close()


@pytest.fixture
def session(pools: Pools, tenant: Tenant) -> Iterator[Session]:
    """What a step of the tenant has."""
    found = Session(pools, tenant.pk)
    yield found
    found.close()


@pytest.fixture
def link(session: Session) -> psycopg.Connection[tuple[object, ...]]:
    """The tenant's connection."""
    return session.open()
