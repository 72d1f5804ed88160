"""A tenant's end, and its return: all that is its own goes into an archive, and comes back out of it.

An archive is a tar file: `tenant.json` (what it is), `rows/<table>` (COPY's text format),
`objects/<key>` (payloads from the storage), `schema.dump` (pg_dump's, of the tenant's own schema)."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from django.core.files.storage import storages
from django.db import transaction
from psycopg.conninfo import make_conninfo

from orchestrator.domain.errors import MillraceError
from orchestrator.embedded.binaries import find_postgres
from orchestrator.store import Connection, archives, connection
from tenants import keys, services
from tenants.actors import Actor
from tenants.connections import addresses, roles
from tenants.models import Tenant

FORMAT = 1
IN_MEMORY = 4 * 1024 * 1024
DUMP_WITHIN_S = 3600


class ArchiveFailed(MillraceError):
    """A tenant's archive cannot be made, or not be read: nothing was changed."""

    code = "archive_failed"
    status = 409
    title = "Not archived"


class TenantInUse(MillraceError):
    """A tenant that is not suspended, or of which steps still run, is not deleted."""

    code = "tenant_in_use"
    status = 409
    title = "In use"


@transaction.atomic(durable=True)
def delete_tenant(*, tenant: Tenant, folder: Path, actor: Actor) -> Path:
    """Archive a suspended tenant of which nothing runs; then delete its rows, its schema and its role.

    Nothing is deleted unless the archive is whole and on the disk; answers where it is.  A database
    elsewhere that the tenant had named stays as it is.  Raises TenantInUse, ArchiveFailed, RolesRefused."""
    link = connection()
    in_use, suspended = archives.hold(link, tenant.pk)
    if not suspended:
        raise TenantInUse(f"The tenant {tenant.slug} is not suspended: suspend it first.")
    if in_use:
        raise TenantInUse(
            f"{in_use} steps of the tenant {tenant.slug} still run: let them end, or cancel their runs."
        )
    found = archives.tables(link)
    archives.end_sessions(link, tenant.pk)
    at = datetime.now(UTC)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / f"{tenant.slug}-{at:%Y%m%dT%H%M%SZ}.tar.gz"
    _write(link, tenant, found, file, at)
    archives.delete(link, found, tenant.pk)
    roles.drop(tenant_id=tenant.pk)
    services.record(
        tenant=None, actor=actor, action="tenant.deleted", target=tenant.slug,
        after={"id": tenant.pk, "archive": file.name},
    )  # fmt: skip
    transaction.on_commit(keys.forget)
    return file


@transaction.atomic(durable=True)
def restore_tenant(*, file: Path, actor: Actor) -> Tenant:
    """Bring a deleted tenant back as it was, suspended, with its rows, payloads and schema.

    Raises ArchiveFailed, RolesRefused."""
    link = connection()
    try:
        with tarfile.open(file) as archive:
            about = _about(archive)
            free_id, free_slug = archives.free(link, about["id"], about["slug"])
            if not (free_id and free_slug):
                taken = f"The slug {about['slug']}" if free_id else f"The id {about['id']}"
                raise ArchiveFailed(f"{taken} belongs to a tenant that is there.")
            _read(link, archive)
            tenant = Tenant.objects.get(pk=about["id"])
            services.settle_database(tenant=tenant)
            services.record(
                tenant=tenant, actor=actor, action="tenant.restored", target=tenant.slug,
                after={"archive": file.name},
            )  # fmt: skip
            dump = tempfile.NamedTemporaryFile()  # noqa: SIM115  (it is read after the commit)
            shutil.copyfileobj(_part(archive, "schema.dump"), dump)
            dump.flush()
            transaction.on_commit(lambda: _restore_schema(tenant, dump))
    except (OSError, EOFError, zlib.error, tarfile.TarError, KeyError, ValueError) as error:
        raise ArchiveFailed(f"{file} is no archive of a tenant that can be read: {error}") from None
    return tenant


def _write(
    link: Connection, tenant: Tenant, found: list[archives.Table], file: Path, at: datetime
) -> None:
    """The archive, under its name only when it is whole and on the disk."""
    about = {
        "format": FORMAT,
        "id": tenant.pk,
        "slug": tenant.slug,
        "at": at.isoformat(),
        "tables": {table.name: list(table.columns) for table in found},
    }
    part = file.with_suffix(".part")
    try:
        with open(part, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as out:
            with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
                _add(archive, "tenant.json", io.BytesIO(json.dumps(about, indent=2).encode()))
                for table in found:
                    with tempfile.SpooledTemporaryFile(IN_MEMORY) as rows:
                        archives.write(link, table, tenant.pk, rows.write)
                        _add(archive, f"rows/{table.name}", rows)
                for key in archives.objects(link, tenant.pk):
                    with storages["payloads"].open(key) as stored:
                        _add(archive, f"objects/{key}", stored)
                with tempfile.TemporaryFile() as dump:
                    _dump_schema(link, tenant.pk, dump)
                    _add(archive, "schema.dump", dump)
            out.flush()
            os.fsync(out.fileno())
        part.rename(file)
        descriptor = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ArchiveFailed(f"The archive {file} cannot be written: {error}.") from None
    finally:
        part.unlink(missing_ok=True)


def _add(archive: tarfile.TarFile, name: str, content: Any) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = content.seek(0, io.SEEK_END)
    entry.mode = 0o600
    content.seek(0)
    archive.addfile(entry, content)


def _part(archive: tarfile.TarFile, name: str | tarfile.TarInfo) -> IO[bytes]:
    """A file in the archive.  Raises KeyError where it holds none."""
    part = archive.extractfile(name)
    if part is None:
        raise KeyError(str(name))
    return part


def _about(archive: tarfile.TarFile) -> dict[str, Any]:
    about: dict[str, Any] = json.load(_part(archive, "tenant.json"))
    if about.get("format") != FORMAT:
        raise ValueError(f"its format is {about.get('format')!r}, not {FORMAT}")
    return about


def _read(link: Connection, archive: tarfile.TarFile) -> None:
    """Rows and objects back to where they were; columns that are new since get their defaults."""
    link.execute("SET CONSTRAINTS ALL DEFERRED")
    about = _about(archive)
    now = {table.name: table for table in archives.tables(link)}
    for name, table in now.items():
        columns = about["tables"].get(name)
        if columns is None:
            continue
        gone = set(columns) - set(table.columns)
        if gone:
            raise ValueError(f"{name} has no column {', '.join(sorted(gone))} any more")
        kept = archives.Table(name, tuple(columns), table.outside)
        archives.read(link, kept, _part(archive, f"rows/{name}"))
    storage = storages["payloads"]
    for entry in archive:
        if entry.name.startswith("objects/") and entry.isfile():
            key = entry.name.removeprefix("objects/")
            archives.announce(link, key)
            if not storage.exists(key):
                storage.save(key, _part(archive, entry))


def _dump_schema(link: Connection, tenant_id: int, out: IO[bytes]) -> None:
    """The tenant's schema as the tenant's own role sees it: nothing in it runs with other rights."""
    _program(
        "pg_dump", link, tenant_id, "--format=custom", f"--schema=tenant_{tenant_id}",
        "--no-owner", "--no-privileges", out=out,
    )  # fmt: skip


def _restore_schema(tenant: Tenant, dump: IO[bytes]) -> None:
    """After the commit, as the tenant's own role, into the empty schema that it has again."""
    with dump, tempfile.NamedTemporaryFile("w") as contents:
        listed = subprocess.run(
            [find_postgres().program("pg_restore"), "--list", dump.name],
            capture_output=True, text=True, check=True, timeout=DUMP_WITHIN_S,
        ).stdout  # fmt: skip
        wanted = [line for line in listed.splitlines() if " SCHEMA - " not in line]
        contents.write("\n".join(wanted))
        contents.flush()
        _program(
            "pg_restore", connection(), tenant.pk, "--no-owner", "--no-privileges", "--exit-on-error",
            "--single-transaction", f"--use-list={contents.name}", dump.name,
        )  # fmt: skip


def _program(
    name: str, link: Connection, tenant_id: int, *arguments: str, out: IO[bytes] | None = None
) -> None:
    """Run one of PostgreSQL's programs as the tenant's role.  Raises ArchiveFailed."""
    try:
        params = addresses.read(link, tenant_id, own=True).params
    except addresses.Unusable as error:
        raise ArchiveFailed(f"The tenant's schema cannot be reached: {error}.") from None
    shown = {key: value for key, value in params.items() if key != "password"}
    done = subprocess.run(
        [find_postgres().program(name), *arguments, "--dbname", make_conninfo("", **shown)],
        env={**os.environ, "PGPASSWORD": params["password"]},
        stdout=out or subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
        timeout=DUMP_WITHIN_S,
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()[-500:]
        raise ArchiveFailed(f"{name} failed on the tenant's schema: {said}")
