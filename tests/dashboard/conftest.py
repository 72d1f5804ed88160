"""A tenant with people of each role, a published workflow, and runs in several states."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import pytest
from django.contrib.auth.models import AbstractBaseUser, User
from django.test import Client

from orchestrator.services.runs import submit_run
from orchestrator.services.workflows import publish_workflow
from tenants.actors import COMMAND
from tenants.models import Role, Tenant
from tenants.services import create_tenant, create_user
from tests.engine import Engine

PASSWORD = "a-long-enough-word-9"
STEPS: list[dict[str, object]] = [
    {"name": "fetch", "handler": "core.echo", "args": {"value": 1}},
    {"name": "check", "handler": "core.echo", "args": {"value": "${{ steps.fetch.output }}"}},
    {"name": "store", "handler": "core.echo", "args": {"value": 3}, "depends_on": ["check"]},
]


@dataclass
class House:
    """What a test of the pages begins with."""

    tenant: Tenant
    engine: Engine

    def user(self, role: str | None, *, staff: bool = False, name: str = "") -> AbstractBaseUser:
        """A person with this role in the tenant (None: a stranger)."""
        return create_user(
            name=name or f"{role or 'stranger'}{'-staff' if staff else ''}",
            password=PASSWORD,
            tenant=self.tenant if role else None,
            role=Role(role) if role else None,
            staff=staff,
            actor=COMMAND,
        )

    def client(self, role: str | None, *, staff: bool = False) -> Client:
        """A signed-in browser of such a person."""
        client = Client()
        user = self.user(role, staff=staff)
        assert isinstance(user, User)
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    def run(self, workflow: str = "import", **labels: str) -> UUID:
        """Submit a run."""
        return submit_run(
            tenant=self.tenant,
            workflow=workflow,
            body={"input": {"day": "2026-11-20"}, "labels": labels},
            actor=COMMAND,
        ).run_id


@pytest.fixture
def house(db: None) -> House:
    """The tenant `mill` with the workflow `import`."""
    tenant = create_tenant(slug="mill", actor=COMMAND)
    publish_workflow(
        tenant=tenant, name=None, document={"name": "import", "steps": STEPS}, actor=COMMAND
    )
    return House(tenant, Engine())
