"""The commands that make tenants, people and keys."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import Client

from tenants import keys, services
from tenants.actors import COMMAND
from tenants.models import ApiKey, Membership, Tenant
from tenants.services.factors import has_totp
from tests.tenants.people import PASSWORD, with_totp

pytestmark = pytest.mark.django_db


def run(*args: str) -> str:
    out = io.StringIO()
    call_command(*args, stdout=out)
    return out.getvalue()


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))

    put("")
    return put


def test_tenant_create() -> None:
    assert run("tenant_create", "acme", "--max-connections", "4") == "acme\n"
    assert Tenant.objects.get(slug="acme").quota.max_connections == 4
    assert run("tenant_create", "beta")
    assert Tenant.objects.get(slug="beta").quota.max_connections == 10


@pytest.mark.parametrize("args", [("Acme",), ("acme",), ("beta", "--max-connections", "-1")])
def test_tenant_create_refuses_in_one_sentence(args: tuple[str, ...]) -> None:
    run("tenant_create", "acme")
    with pytest.raises(CommandError) as caught:
        run("tenant_create", *args)
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)
    assert caught.value.returncode == 1


def test_user_create_prints_a_random_password(stdin: Any) -> None:
    run("tenant_create", "acme")
    name, password = run("user_create", "ann", "--tenant", "acme", "--role", "operator").split()
    user = get_user_model().objects.get(username=name)
    assert user.check_password(password)
    assert Membership.objects.get(user=user).role == "operator"


def test_user_create_takes_a_password_from_standard_input(stdin: Any) -> None:
    stdin("a long enough passphrase\n")
    assert run("user_create", "sam", "--staff", "--password-stdin") == "sam\n"
    user = get_user_model().objects.get(username="sam")
    assert user.check_password("a long enough passphrase")
    assert user.is_staff


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("ann", "--tenant", "nothing"), "There is no tenant nothing."),
        (("ann", "--role", "admin"), "role: a role needs a tenant."),
        (("a b!",), "name:"),
    ],
)
def test_user_create_refuses(stdin: Any, args: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError) as caught:
        run("user_create", *args)
    assert str(caught.value).startswith(said)


def test_apikey_create_prints_the_key_alone() -> None:
    run("tenant_create", "acme")
    raw = run("apikey_create", "acme", "--scope", "runs:read", "--scope", "admin").strip()
    found = keys.authenticate(raw)
    assert found is not None
    assert found.scopes == ["runs:read", "admin"]


@pytest.mark.parametrize("args", [("nothing",), ("acme", "--scope", "runs:red")])
def test_apikey_create_refuses(args: tuple[str, ...]) -> None:
    run("tenant_create", "acme")
    with pytest.raises(CommandError):
        run("apikey_create", *args)
    assert not ApiKey.objects.exists()


def test_user_recover_lets_somebody_in_again(client: Client) -> None:
    user = services.create_user(name="ann", password=PASSWORD, actor=COMMAND)
    with_totp(user)
    link = run("user_recover", "ann", "--keep-totp").strip()
    assert has_totp(user)
    assert run("user_recover", "ann").strip().startswith("/login/forgotten/")
    assert not has_totp(user)
    form = client.get(link).url  # type: ignore[attr-defined]
    new = "another long passphrase"
    client.post(form, {"new_password1": new, "new_password2": new})
    user.refresh_from_db()
    assert user.check_password(new)
    with pytest.raises(CommandError, match="There is no user nobody"):
        run("user_recover", "nobody")
