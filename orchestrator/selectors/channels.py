"""Channels, silences and maintenance windows, of a tenant or (tenant None) of the server."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db.models import Q

from orchestrator.domain import jsonvalue
from orchestrator.domain.calendar import Cron, describe, upcoming
from orchestrator.domain.durations import format_duration
from orchestrator.domain.errors import ChannelNotFound, SilenceNotFound, WindowNotFound
from orchestrator.domain.routing import Window
from orchestrator.models import Channel, MaintenanceWindow, Notification, Silence
from orchestrator.selectors.paging import (
    DEFAULT_LIMIT,
    Page,
    seal,
    seal_moment,
    unseal,
    unseal_moment,
)
from tenants.models import Tenant

CHANNELS = "channels"
SENT = "notifications"
SILENCES = "silences"
WINDOWS = "windows"


def access_channel(*, tenant: Tenant | None, name: str, lock: bool = False) -> Channel:
    """The channel.  Raises ChannelNotFound; absent and foreign look the same."""
    rows = Channel.objects.select_for_update() if lock else Channel.objects.all()
    found = None if "\0" in name else rows.filter(tenant=tenant, name=name).first()
    if found is None:
        raise ChannelNotFound(channel=name[:80])
    return found


def has_channel(*, tenant: Tenant | None, name: str) -> bool:
    """Whether there is such a channel."""
    return "\0" not in name and Channel.objects.filter(tenant=tenant, name=name).exists()


def channel_view(row: Channel) -> dict[str, object]:
    """A Channel as the API shows it: of its address only where it leads, never what is secret in it."""
    return {
        "name": row.name,
        "kind": row.kind,
        "to": row.to,
        "place": row.place,
        "severity": row.severity,
        "match": jsonvalue.decode(row.matchers),
        "group_by": row.group_by,
        "group_wait": format_duration(row.group_wait),
        "repeat": None if row.repeat_every is None else format_duration(row.repeat_every),
        "resolved": row.tell_resolved,
        "enabled": row.enabled,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "updated_by": row.updated_by,
    }


def list_channels(
    *, tenant: Tenant | None, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page:
    """A page of channels by name.  Raises InvalidCursor."""
    rows = Channel.objects.filter(tenant=tenant)
    if cursor is not None:
        (after,) = unseal(CHANNELS, cursor, 1)
        rows = rows.filter(name__gt=after)
    found = list(rows.order_by("name")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    return Page(
        [channel_view(row) for row in found], seal(CHANNELS, found[-1].name) if more else None
    )


def notifications_page(
    *, row: Channel, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page:
    """What was sent to a channel, or is to be, newest first.  Raises InvalidCursor."""
    rows = Notification.objects.filter(tenant_id=row.tenant_id, channel=row)
    if cursor is not None:
        _, after = unseal_moment(SENT, cursor)
        rows = rows.filter(pk__lt=after)
    found = list(rows.order_by("-pk")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    last = found[-1] if more else None
    return Page(
        [notification_view(one) for one in found],
        None if last is None else seal_moment(SENT, last.created_at, last.pk),
    )


def notification_view(row: Notification) -> dict[str, object]:
    """What became of a message."""
    return {
        "id": row.pk,
        "notice": row.notice,
        "state": row.state,
        "attempts": row.attempt_count,
        "next_at": row.next_at,
        "answer": row.answer,
        "alerts": row.alert_ids,
        "created_at": row.created_at,
        "ended_at": row.ended_at,
    }


def last_notifications(rows: list[str], *, tenant: Tenant | None) -> dict[str, dict[str, object]]:
    """The newest message of each of these channels, by the channel's name."""
    found = (
        Notification.objects.filter(
            tenant_id=None if tenant is None else tenant.pk,
            channel__tenant=tenant,
            channel__name__in=rows,
        )
        .select_related("channel")
        .order_by("channel_id", "-pk")
        .distinct("channel_id")
    )
    return {one.channel.name: notification_view(one) for one in found}


def access_silence(*, tenant: Tenant | None, silence_id: UUID | str, lock: bool = False) -> Silence:
    """The silence.  Raises SilenceNotFound; absent and foreign look the same."""
    try:
        key = silence_id if isinstance(silence_id, UUID) else UUID(silence_id)
    except ValueError:
        raise SilenceNotFound(silence=str(silence_id)[:80]) from None
    rows = Silence.objects.select_for_update() if lock else Silence.objects.all()
    found = rows.filter(tenant=tenant, pk=key).first()
    if found is None:
        raise SilenceNotFound(silence=str(key))
    return found


def silence_view(row: Silence, now: datetime) -> dict[str, object]:
    """A Silence as the API shows it."""
    state = "over" if row.ends_at <= now else "active" if row.starts_at <= now else "coming"
    return {
        "id": row.pk,
        "match": jsonvalue.decode(row.matchers),
        "reason": row.reason,
        "author": row.author,
        "state": state,
        "starts_at": row.starts_at,
        "ends_at": row.ends_at,
        "created_at": row.created_at,
    }


def list_silences(
    *,
    tenant: Tenant | None,
    now: datetime,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page:
    """A page of silences, those that end last first.  Raises InvalidCursor."""
    rows = Silence.objects.filter(tenant=tenant)
    if cursor is not None:
        at, key = unseal_moment(SILENCES, cursor)
        rows = rows.filter(Q(ends_at__lt=at) | Q(ends_at=at, pk__lt=key))
    found = list(rows.order_by("-ends_at", "-pk")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    after = seal_moment(SILENCES, found[-1].ends_at, found[-1].pk) if more else None
    return Page([silence_view(row, now) for row in found], after)


def access_window(*, tenant: Tenant | None, name: str, lock: bool = False) -> MaintenanceWindow:
    """The maintenance window.  Raises WindowNotFound; absent and foreign look the same."""
    rows = MaintenanceWindow.objects.select_for_update() if lock else MaintenanceWindow.objects
    found = None if "\0" in name else rows.filter(tenant=tenant, name=name).first()
    if found is None:
        raise WindowNotFound(window=name[:80])
    return found


def window_view(row: MaintenanceWindow, now: datetime) -> dict[str, object]:
    """A MaintenanceWindow as the API shows it; `open_until` while it is open."""
    window = Window(row.cron, row.zone, row.duration, row.starts_at, row.ends_at)
    next_at = row.starts_at if row.starts_at is not None and row.starts_at > now else None
    if row.cron is not None:
        next_at = next(iter(upcoming(Cron(row.cron, row.zone), now, 1)), None)
    return {
        "name": row.name,
        "match": jsonvalue.decode(row.matchers),
        "reason": row.reason,
        "cron": row.cron,
        "timezone": row.zone if row.cron else None,
        "duration": None if row.duration is None else format_duration(row.duration),
        "starts_at": row.starts_at,
        "ends_at": row.ends_at,
        "enabled": row.enabled,
        "open_until": window.open_until(now) if row.enabled else None,
        "next_at": next_at if row.enabled else None,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "updated_by": row.updated_by,
    }


def in_words(row: dict[str, object]) -> str:
    """When a window's view says that it is open."""
    if row["cron"] is None:
        return "Once"
    return f"{describe(Cron(str(row['cron']), str(row['timezone'])))}, for {row['duration']}"


def list_windows(
    *,
    tenant: Tenant | None,
    now: datetime,
    limit: int = DEFAULT_LIMIT,
    cursor: str | None = None,
) -> Page:
    """A page of maintenance windows by name.  Raises InvalidCursor."""
    rows = MaintenanceWindow.objects.filter(tenant=tenant)
    if cursor is not None:
        (after,) = unseal(WINDOWS, cursor, 1)
        rows = rows.filter(name__gt=after)
    found = list(rows.order_by("name")[: limit + 1])
    more = len(found) > limit
    found = found[:limit]
    return Page(
        [window_view(row, now) for row in found], seal(WINDOWS, found[-1].name) if more else None
    )
