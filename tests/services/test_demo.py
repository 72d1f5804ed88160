from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from orchestrator.embedded import paths
from orchestrator.models import Workflow
from orchestrator.services.demo import SAMPLES, install_demo
from tenants import keys
from tenants.actors import SYSTEM
from tenants.models import Membership, Role, Tenant
from tenants.services import create_tenant, create_user

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


def test_a_new_database_gets_a_tenant_a_login_a_key_and_the_samples() -> None:
    made = install_demo()
    assert made is not None
    file = paths.credentials_file()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == {
        "user": "admin",
        "password": made.password,
        "tenant": "demo",
        "api_key": made.api_key,
    }
    user = User.objects.get(username="admin")
    assert user.check_password(made.password)
    assert user.is_staff
    assert user.is_superuser
    assert Membership.objects.get(user=user, tenant__slug="demo").role == Role.ADMIN
    key = keys.authenticate(made.api_key)
    assert key is not None
    assert key.tenant.slug == "demo"
    published = set(Workflow.objects.values_list("name", flat=True))
    assert published == {file.stem for file in SAMPLES.glob("*.yaml")}
    assert "tutorial" in published


def test_it_is_installed_once() -> None:
    assert install_demo() is not None
    before = paths.credentials_file().read_text()
    assert install_demo() is None
    assert paths.credentials_file().read_text() == before


@pytest.mark.parametrize("what", ["tenant", "person"])
def test_a_database_in_use_is_left_alone(what: str) -> None:
    if what == "tenant":
        create_tenant(slug="mine", actor=SYSTEM)
    else:
        create_user(name="me", password="a long enough one", actor=SYSTEM)
    assert install_demo() is None
    assert not Tenant.objects.filter(slug="demo").exists()
    assert not paths.credentials_file().exists()
