"""Channels: made, edited, tried, deleted.  `tenant` None: the server's, which staff look after."""

from __future__ import annotations

import secrets
from datetime import timedelta

import httpx
from django.db import IntegrityError, transaction
from uuid_utils.compat import uuid7

from orchestrator import store
from orchestrator.domain.channels import Kind, Notice
from orchestrator.domain.errors import InvalidRequest, Problem
from orchestrator.models import Channel, Notification
from orchestrator.selectors.channels import access_channel, channel_view
from orchestrator.services.bounds import check_rate, check_room
from orchestrator.services.channel_documents import ChannelSpec, read_channel
from orchestrator.services.channel_secrets import opened, sealed
from orchestrator.store import alerts, outbox
from orchestrator.store.alerts import SERVER
from orchestrator.store.outbox import Post
from tenants.actors import Actor
from tenants.errors import AlreadyThere
from tenants.models import AuditEntry, Tenant
from tenants.sealing import Unreadable
from tenants.services import record

MOST = 100
"""Channels of a tenant."""
TEST_EVERY = timedelta(seconds=10)
TESTS_AN_HOUR = 30
"""Of all channels of a tenant."""


def create_channel(
    *, tenant: Tenant | None, body: object, actor: Actor
) -> tuple[Channel, str | None]:
    """A new channel, named by its body; of a webhook its secret, which is shown this once.

    Raises InvalidRequest, AlreadyThere, OverQuota."""
    spec = read_channel(body=body, name=None, has_url=None, trusted=tenant is None)
    return _write(tenant, spec, actor, replace=False)


def replace_channel(
    *, tenant: Tenant | None, name: str, body: object, actor: Actor
) -> tuple[Channel, str | None]:
    """The channel `name` as `body` says; its secret where it is new.  One that is there keeps its
    secret, and its URL where `body` has none.  Raises InvalidRequest, OverQuota."""
    known = Channel.objects.filter(tenant=tenant, name=name).first() if "\0" not in name else None
    kept = None if known is None or known.sealed is None else known.kind
    spec = read_channel(body=body, name=name, has_url=kept, trusted=tenant is None)
    return _write(tenant, spec, actor, replace=True)


@transaction.atomic
def _write(
    tenant: Tenant | None, spec: ChannelSpec, actor: Actor, *, replace: bool
) -> tuple[Channel, str | None]:
    row = Channel.objects.select_for_update().filter(tenant=tenant, name=spec.name).first()
    taken = AlreadyThere(f"The channel {spec.name} is there already.", channel=spec.name)
    if row is not None and not replace:
        raise taken
    before = None if row is None else _shape(row)
    if row is None:
        rows = Channel.objects.filter(tenant=tenant)
        check_room(tenant=tenant, quota="max_channels", value=MOST, rows=rows)
        row = Channel(tenant=tenant)
    known = _known(row) if row.kind == spec.kind else {}
    for key in ChannelSpec.__slots__:
        if key != "url":
            setattr(row, key, getattr(spec, key))
    secret = None
    if spec.kind is Kind.EMAIL:
        row.sealed, row.place = None, ", ".join(spec.to)
    elif spec.url is not None:
        if spec.kind is Kind.WEBHOOK and "secret" not in known:
            secret = known["secret"] = f"mrnt_{secrets.token_urlsafe(32)}"
        row.sealed = sealed({**known, "url": spec.url})
        row.place = place(spec.kind, spec.url)
    row.updated_at, row.updated_by = alerts.now(store.connection()), str(actor)
    try:
        with transaction.atomic():
            row.save()
    except IntegrityError:
        if before is not None:
            raise
        raise taken from None
    row.refresh_from_db()
    record(
        tenant=tenant,
        actor=actor,
        action="channel.changed" if before else "channel.created",
        target=spec.name,
        before=before,
        after={**_shape(row), "url_given": spec.url is not None},
    )
    return row, secret


def _known(row: Channel) -> dict[str, str]:
    try:
        return opened(None if row.sealed is None else bytes(row.sealed))
    except Unreadable:
        return {}


def place(kind: str, url: str) -> str:
    """What of an address may be shown: where it leads, and nothing that opens it."""
    if kind == Kind.APPRISE:
        return f"{url.partition('://')[0].lower()}://…"
    parts = httpx.URL(url)
    return f"{parts.scheme}://{parts.netloc.decode()}/…"


def _shape(row: Channel) -> dict[str, object]:
    """What the audit log keeps: everything but the secrets."""
    view = channel_view(row)
    for key in ("name", "created_at", "updated_at", "updated_by"):
        del view[key]
    return view


@transaction.atomic
def rotate_channel(*, tenant: Tenant | None, name: str, actor: Actor) -> tuple[Channel, str]:
    """A webhook's new secret, shown this once; the one before signs nothing more.

    Raises ChannelNotFound, InvalidRequest (it has no secret)."""
    row = access_channel(tenant=tenant, name=name, lock=True)
    known = _known(row)
    if row.kind != Kind.WEBHOOK or "url" not in known:
        problem = Problem("", "has no secret: only webhooks are signed", "out_of_place")
        raise InvalidRequest(problems=[problem])
    secret = f"mrnt_{secrets.token_urlsafe(32)}"
    row.sealed = sealed({**known, "secret": secret})
    row.updated_at, row.updated_by = alerts.now(store.connection()), str(actor)
    row.save()
    record(tenant=tenant, actor=actor, action="channel.rotated", target=name)
    return row, secret


@transaction.atomic
def test_channel(*, tenant: Tenant | None, name: str, actor: Actor) -> Notification:
    """Put a message into the outbox that says that it is a test; it is tried once.  Within ten seconds
    it is the same one again, so that nobody is flooded through us.

    Raises ChannelNotFound, OverQuota."""
    row = access_channel(tenant=tenant, name=name, lock=True)
    moment = alerts.now(store.connection())
    tests = Notification.objects.filter(channel=row, notice=Notice.TEST)
    recent = tests.filter(created_at__gt=moment - TEST_EVERY).first()
    if recent is not None:
        return recent
    # counted where a channel that is deleted and made anew is remembered
    tried = AuditEntry.objects.filter(tenant=tenant, action="channel.tested")
    check_rate(quota="channel_tests", value=TESTS_AN_HOUR, rows=tried, now=moment)
    owner = SERVER if tenant is None else tenant.pk
    post = Post(uuid7(), owner, row.pk, Notice.TEST, "[]", (), 0.0)
    outbox.enqueue(store.connection(), [post])
    record(tenant=tenant, actor=actor, action="channel.tested", target=name)
    return tests.latest("created_at")


@transaction.atomic
def delete_channel(*, tenant: Tenant | None, name: str, actor: Actor) -> None:
    """Delete a channel, and what was to be told there.  Raises ChannelNotFound."""
    row = access_channel(tenant=tenant, name=name, lock=True)
    record(tenant=tenant, actor=actor, action="channel.deleted", target=name, before=_shape(row))
    row.delete()
