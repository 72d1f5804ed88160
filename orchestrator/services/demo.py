"""The demo tenant: what a new database begins with, so that there is something to see and to try."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml
from django.contrib.auth import get_user_model
from django.db import transaction

from orchestrator.embedded import paths
from orchestrator.embedded.datafolder import write_private
from orchestrator.services.workflows import publish_workflow
from tenants.actors import SYSTEM
from tenants.models import Role, Tenant
from tenants.services import create_api_key, create_tenant, create_user

TENANT = "demo"
USER = "admin"
SAMPLES = Path(__file__).resolve().parents[1] / "samples"


@dataclass(frozen=True, slots=True)
class Credentials:
    """The operator's login (staff, and admin of the tenant) and an API key with all scopes."""

    user: str
    password: str
    tenant: str
    api_key: str


@transaction.atomic
def install_demo() -> Credentials | None:
    """Make the tenant, its login, key and workflows; None where any tenant or person exists already.

    The credentials are kept in `paths.credentials_file()` (JSON, 0600).  The file is written before
    the commit: a file too many is written over the next time, a lost password could not be mended.
    """
    if Tenant.objects.filter(is_system=False).exists() or get_user_model().objects.exists():
        return None
    tenant = create_tenant(slug=TENANT, name="Demo", actor=SYSTEM)
    password = secrets.token_urlsafe(15)
    create_user(
        name=USER, password=password, tenant=tenant, role=Role.ADMIN, staff=True, actor=SYSTEM
    )
    _, api_key = create_api_key(tenant=tenant, name="demo", actor=SYSTEM)
    for file in sorted(SAMPLES.glob("*.yaml")):
        document = yaml.safe_load(file.read_text())
        publish_workflow(tenant=tenant, name=None, document=document, actor=SYSTEM)
    credentials = Credentials(user=USER, password=password, tenant=TENANT, api_key=api_key)
    paths.credentials_file().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(paths.credentials_file(), json.dumps(asdict(credentials), indent=2) + "\n")
    return credentials
