"""A database that a tenant names: what is taken, where it may lead, and who can read it."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from orchestrator.conf import conf
from orchestrator.services.sessions import make_pools
from tenants import services
from tenants.actors import SYSTEM
from tenants.connections import ConnectionRefused, Pools, Session, external
from tenants.connections.external import BadAddress, Rules
from tenants.errors import InvalidValue
from tenants.models import AuditEntry, Tenant, TenantDatabase
from tests.connections.door import Door
from tests.connections.looking import home, sessions

ADDRESS = "postgresql://app:secret@db.example.com:6543/shop"
PRIVATE = Rules(allow_private=True)


@pytest.fixture
def door(db: None) -> Iterator[Door]:
    found = Door()
    yield found
    found.close()


@pytest.fixture
def private(make: Callable[..., Tenant]) -> Iterator[Pools]:
    """A process that may use private addresses."""
    found = make_pools(replace(conf(), connection_wait_s=0.2, database_allow_private=True))
    yield found
    found.close()


def test_an_address_is_read() -> None:
    target = external.read(ADDRESS)
    assert (target.host, target.port, target.name) == (
        "db.example.com",
        6543,
        "app@db.example.com:6543/shop",
    )
    assert external.read("host=DB.example.com. user=a password=b dbname=c").name == (
        "a@db.example.com:5432/c"
    )


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "names no host"),
        ("mysql://a:secret@b/c", "say postgresql://"),
        ("postgresql://app@db.example.com/shop", "names no password"),
        ("postgresql://app:secret@db.example.com", "names no dbname"),
        ("postgresql://app:secret@/shop", "names no host"),
        ("postgresql://app:secret@/shop?host=/var/run/postgresql", "no socket"),
        ("host=@abstract user=a password=secret dbname=c", "no socket"),
        ("postgresql://app:secret@one,two/shop", "one host"),
        ("postgresql://app:secret@db.example.com:0/shop", "port"),
        (f"{ADDRESS}?hostaddr=127.0.0.1", "hostaddr is not taken"),
        (f"{ADDRESS}?passfile=/etc/passwd", "passfile is not taken"),
        (f"{ADDRESS}?sslrootcert=/etc/passwd", "sslrootcert is not taken"),
        (f"{ADDRESS}?sslkey=/etc/ssl/private/key", "sslkey is not taken"),
        (f"{ADDRESS}?service=other", "service is not taken"),
        (f"{ADDRESS}?options=-csearch_path%3Dx", "options is not taken"),
        (f"{ADDRESS}?sslmode=verify-ca", "sslmode"),
        (f"{ADDRESS}?nonsense=1", "say postgresql://"),
        ("x" * 3000, "too long"),
        (f"{ADDRESS}\0", "NUL"),
    ],
)
def test_what_an_address_may_not_say(address: str, said: str) -> None:
    with pytest.raises(BadAddress) as caught:
        external.read(address)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("found", ["127.0.0.1", "10.0.0.5", "169.254.169.254", "::1", "fd00::1"])
def test_private_addresses_are_refused_whatever_their_name(found: str) -> None:
    def resolve(*_: Any, **__: Any) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", ("93.184.215.14", 0)), (0, 0, 0, "", (found, 0))]

    target = external.read(ADDRESS)
    with pytest.raises(BadAddress, match="private address"):
        external.parameters(target, Rules(), resolve=resolve)
    assert external.parameters(target, PRIVATE, resolve=resolve)["hostaddr"] == "93.184.215.14"


def test_only_the_hosts_that_are_allowed() -> None:
    rules = Rules(hosts=("*.example.org",), allow_private=True)
    with pytest.raises(BadAddress, match="not among the hosts"):
        external.parameters(external.read(ADDRESS), rules)
    with pytest.raises(BadAddress, match="there is no host"):
        external.parameters(external.read("postgresql://a:b@absent.invalid/c"), PRIVATE)


def test_steps_use_the_database_that_was_named(
    make: Callable[..., Tenant], private: Pools, door: Door
) -> None:
    tenant, other = make(), make()
    address = door.address(other)
    services.set_external_database(tenant=tenant, address=address, rules=PRIVATE, actor=SYSTEM)
    session = Session(private, tenant.pk)
    link = session.open()
    assert link.execute("SELECT current_user::text").fetchone() == (home(other).role,)
    assert session.backend_pid is None
    session.close()
    assert services.clear_external_database(tenant=tenant, actor=SYSTEM)
    assert not services.clear_external_database(tenant=tenant, actor=SYSTEM)
    private.close()
    here = make_pools(conf())
    again = Session(here, tenant.pk)
    assert again.open().execute("SELECT current_user::text").fetchone() == (home(tenant).role,)
    again.close()
    here.close()
    end = time.monotonic() + 5
    while sessions(other):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_password_is_kept_sealed_and_shown_to_nobody(
    make: Callable[..., Tenant], door: Door, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    tenant = make()
    address = door.address(make())
    password = address.split(":")[2].split("@")[0]
    monkeypatch.setenv("ORCHESTRATOR_DATABASE_ALLOW_PRIVATE", "true")
    conf.cache_clear()
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{address}\n"))
    call_command("tenant_database", tenant.slug, "--external-stdin")
    conf.cache_clear()
    shown = capsys.readouterr().out
    row = TenantDatabase.objects.get(tenant=tenant)
    assert row.external is not None
    assert shown == f"{row.external_name}\n"
    assert password not in shown
    assert password.encode() not in bytes(row.external)
    entry = AuditEntry.objects.get(tenant=tenant, action="database.set")
    assert entry.after == {"external": row.external_name}
    call_command("tenant_database", tenant.slug, "--own")
    assert capsys.readouterr().out == f"tenant_{tenant.pk}\n"
    with pytest.raises(CommandError, match="no tenant absent"):
        call_command("tenant_database", "absent")


def test_an_address_that_does_not_answer_is_not_saved(tenant: Tenant, door: Door) -> None:
    wrong = door.address(tenant).replace(":millrace", ":x") + "x"
    for address, rules in ((wrong, PRIVATE), (door.address(tenant), Rules())):
        with pytest.raises(InvalidValue) as caught:
            services.set_external_database(
                tenant=tenant, address=address, rules=rules, actor=SYSTEM
            )
        assert address.split(":")[2].split("@")[0] not in caught.value.message
    assert TenantDatabase.objects.get(tenant=tenant).external is None


def test_an_address_is_judged_anew_for_each_session(
    make: Callable[..., Tenant], pools: Pools, door: Door
) -> None:
    tenant = make()
    services.set_external_database(
        tenant=tenant, address=door.address(make()), rules=PRIVATE, actor=SYSTEM
    )
    with pytest.raises(BadAddress, match="private address"):
        Session(pools, tenant.pk).open()


def test_a_database_that_is_away_is_waited_for_and_then_refused(
    make: Callable[..., Tenant], private: Pools, door: Door
) -> None:
    tenant = make()
    services.set_external_database(
        tenant=tenant, address=door.address(make()), rules=PRIVATE, actor=SYSTEM
    )
    door.close()
    with pytest.raises(ConnectionRefused, match=r"gave no connection within 0\.2 s"):
        Session(private, tenant.pk).open()
