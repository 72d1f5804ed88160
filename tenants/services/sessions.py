"""A person's sessions: which there are, and their end."""

from __future__ import annotations

import hashlib

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from tenants.actors import Actor
from tenants.models import Session
from tenants.services.audit import record

MOST_SHOWN = 100


def handle(session_key: str) -> str:
    """What a page calls a session: its key opens it and is shown nowhere."""
    return hashlib.sha256(session_key.encode()).hexdigest()[:32]


def sessions_of(user: User) -> list[Session]:
    """The person's sessions that have not ended, the last used one first."""
    rows = Session.objects.filter(user=user, expire_date__gt=timezone.now())
    return list(rows.order_by("-seen_at")[:MOST_SHOWN])


@transaction.atomic
def end_session(*, user: User, which: str, actor: Actor) -> bool:
    """End one of the person's sessions, by its handle: its pages and sockets close."""
    for row in sessions_of(user):
        if handle(row.session_key) == which:
            row.delete()
            record(
                tenant=None,
                actor=actor,
                action="session.ended",
                target=user.get_username(),
                before={"origin": row.origin, "agent": row.agent},
            )
            return True
    return False


@transaction.atomic
def end_sessions(*, user: User, but: str | None = None, actor: Actor) -> int:
    """End all sessions of the person but the one with this key; answers how many."""
    rows = Session.objects.filter(user=user)
    if but is not None:
        rows = rows.exclude(session_key=but)
    count, _ = rows.delete()
    if count:
        record(
            tenant=None,
            actor=actor,
            action="sessions.ended",
            target=user.get_username(),
            before={"count": count},
        )
    return count
