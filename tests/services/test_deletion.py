"""A tenant's end and its return: everything is archived, deleted, and comes back."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import storages
from django.core.management import CommandError, call_command

from orchestrator.models import Event, Run, StepRun, Workflow
from orchestrator.services.deletion import (
    ArchiveFailed,
    TenantInUse,
    delete_tenant,
    restore_tenant,
)
from orchestrator.services.runs import submit_run
from orchestrator.services.workflows import publish_workflow
from orchestrator.store import archives, connection
from tenants import services
from tenants.actors import COMMAND, SYSTEM
from tenants.connections import Pools, Session, roles
from tenants.models import AuditEntry, Membership, Tenant
from tests.connections import conftest
from tests.connections.looking import home, sql
from tests.engine import Engine

pytestmark = pytest.mark.thorough

db, make, pools = conftest.db, conftest.make, conftest.pools
BIG = "x" * (1024 * 1024 + 1)


@pytest.fixture
def tenant(make: Callable[..., Tenant], pools: Pools) -> Iterator[Tenant]:
    """A suspended tenant with a run, a large payload, a member, a key, and data in its schema."""
    tenant = make()
    services.create_api_key(tenant=tenant, name="ci", actor=SYSTEM)
    user = services.create_user(
        name=f"ann-{tenant.slug}", password="a long enough passphrase", tenant=tenant, actor=SYSTEM
    )
    step = {"name": "a", "handler": "core.echo", "args": {"x": "${{ input.x }}"}}
    publish_workflow(tenant=tenant, name="w", document={"steps": [step]}, actor=SYSTEM)
    submit_run(tenant=tenant, workflow="w", body={"input": {"x": BIG}}, actor=SYSTEM)
    engine = Engine()
    engine.succeed(engine.claim(), output={"done": True})
    engine.decide()
    session = Session(pools, tenant.pk)
    link = session.open()
    link.execute("CREATE TABLE orders (id bigserial PRIMARY KEY, total numeric)")
    link.execute("INSERT INTO orders (total) VALUES (12.5), (7)")
    link.execute("CREATE VIEW large AS SELECT * FROM orders WHERE total > 10")
    session.close()
    services.suspend(tenant=tenant, reason="leaves", actor=SYSTEM)
    yield tenant
    sql("DELETE FROM worker")
    sql("DELETE FROM stored_object")
    user.delete()
    if (again := Tenant.objects.filter(slug=tenant.slug).first()) is not None:
        roles.drop(tenant_id=again.pk)
        archives.delete(connection(), archives.tables(connection()), again.pk)


def rows(tenant_id: int) -> dict[str, int]:
    """How many rows of the tenant each table has."""
    return {
        table.name: sql(
            f"SELECT count(*) FROM {table.name} WHERE {table.owner} = %s",
            tenant_id,
        )[0][0]
        for table in archives.tables(connection())
    }


def test_a_deleted_tenant_comes_back_as_it_was(
    tenant: Tenant, tmp_path: Path, pools: Pools
) -> None:
    before = rows(tenant.pk)
    assert before["run"] == before["api_key"] == before["payload"] == 1
    run = Run.objects.get(tenant_id=tenant.pk)
    role = home(tenant).role
    file = delete_tenant(tenant=tenant, folder=tmp_path / "archives", actor=COMMAND)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert {name for name, number in rows(tenant.pk).items() if number} == {"audit_entry"}
    assert sql("SELECT 1 FROM pg_roles WHERE rolname = %s", role) == []
    assert sql("SELECT 1 FROM pg_namespace WHERE nspname = %s", f"tenant_{tenant.pk}") == []
    deleted = AuditEntry.objects.get(action="tenant.deleted")
    assert (deleted.target, deleted.after) == (
        tenant.slug,
        {"id": tenant.pk, "archive": file.name},
    )

    with tarfile.open(file) as archive:
        (stored,) = [name for name in archive.getnames() if name.startswith("objects/")]
        about = json.load(archive.extractfile("tenant.json"))  # type: ignore[arg-type]
    # the storage is swept in time
    storages["payloads"].delete(stored.removeprefix("objects/"))
    assert (about["slug"], about["id"]) == (tenant.slug, tenant.pk)

    again = restore_tenant(file=file, actor=COMMAND)
    assert (again.slug, again.pk, again.suspended_reason) == (tenant.slug, tenant.pk, "leaves")
    after = rows(again.pk)
    assert {**after, "audit_entry": 0} == {**before, "audit_entry": 0}
    assert Run.objects.get(tenant_id=again.pk).id == run.id
    assert StepRun.objects.get(tenant_id=again.pk).state == "succeeded"
    assert Event.objects.filter(tenant_id=again.pk, type="run.succeeded").exists()
    assert Workflow.objects.get(tenant_id=again.pk).name == "w"
    assert Membership.objects.get(tenant=again).user.username == f"ann-{again.slug}"
    assert storages["payloads"].exists(stored.removeprefix("objects/"))
    session = Session(pools, again.pk)
    assert session.open().execute("SELECT total FROM large").fetchall() == [(12.5,)]
    session.open().execute("INSERT INTO orders (total) VALUES (1)")
    session.close()


def test_members_whose_user_is_gone_stay_away(tenant: Tenant, tmp_path: Path) -> None:
    file = delete_tenant(tenant=tenant, folder=tmp_path, actor=COMMAND)
    sql("DELETE FROM auth_user WHERE username = %s", f"ann-{tenant.slug}")
    again = restore_tenant(file=file, actor=COMMAND)
    assert not Membership.objects.filter(tenant=again).exists()


def test_only_a_suspended_tenant_at_rest_is_deleted(tenant: Tenant, tmp_path: Path) -> None:
    services.resume(tenant=tenant, actor=SYSTEM)
    with pytest.raises(TenantInUse, match="not suspended"):
        delete_tenant(tenant=tenant, folder=tmp_path, actor=COMMAND)
    services.suspend(tenant=tenant, reason="", actor=SYSTEM)
    sql("UPDATE tenant_load SET in_use = 2 WHERE tenant_id = %s", tenant.pk)
    with pytest.raises(TenantInUse, match="2 steps"):
        delete_tenant(tenant=tenant, folder=tmp_path, actor=COMMAND)
    assert Tenant.objects.filter(pk=tenant.pk).exists()


def test_without_an_archive_nothing_is_deleted(tenant: Tenant, tmp_path: Path) -> None:
    sql("UPDATE tenant_database SET password = 'not sealed' WHERE tenant_id = %s", tenant.pk)
    with pytest.raises(ArchiveFailed):
        delete_tenant(tenant=tenant, folder=tmp_path, actor=COMMAND)
    assert rows(tenant.pk)["run"] == 1
    assert home(tenant).has_schema
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_archive_is_refused(tenant: Tenant, tmp_path: Path) -> None:
    file = delete_tenant(tenant=tenant, folder=tmp_path, actor=COMMAND)
    bad = tmp_path / "bad.tar.gz"
    bad.write_bytes(file.read_bytes()[:-2000])
    for broken in (bad, tmp_path / "absent"):
        with pytest.raises(ArchiveFailed, match="no archive of a tenant"):
            restore_tenant(file=broken, actor=COMMAND)
    restore_tenant(file=file, actor=COMMAND)
    with pytest.raises(ArchiveFailed, match="belongs to a tenant"):
        restore_tenant(file=file, actor=COMMAND)


def test_the_commands(tenant: Tenant, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(CommandError, match="--yes"):
        call_command("tenant_delete", tenant.slug)
    with pytest.raises(CommandError, match="no tenant absent"):
        call_command("tenant_delete", "absent", "--yes")
    call_command("tenant_delete", tenant.slug, "--yes", "--archive", str(tmp_path))
    file = capsys.readouterr().out.strip()
    call_command("tenant_restore", file)
    assert capsys.readouterr().out == f"{tenant.slug}\n"
    call_command("tenant_repair", tenant.slug)
    assert capsys.readouterr().out == f"{tenant.slug}\n"
    call_command("tenant_database", tenant.slug)
    assert capsys.readouterr().out == f"tenant_{tenant.pk}\n"
    with pytest.raises(CommandError, match="belongs to a tenant"):
        call_command("tenant_restore", file)
