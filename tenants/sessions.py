"""Sessions in the database, each with the person whose it is (settings.SESSION_ENGINE)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db
from django.utils import timezone

from tenants.models import Session

SEEN_EVERY = timedelta(minutes=1)
LONGEST_AGENT = 300
ORIGIN, AGENT, SIGNED_IN_AT = "origin", "agent", "signed_in_at"
"""What is kept in a session about its sign-in."""


class SessionStore(db.SessionStore):
    """Django's own, with the columns of our row filled from what the session says."""

    @classmethod
    def get_model_class(cls) -> type[Session]:
        """The row of a session."""
        return Session

    def create_model_instance(self, data: dict[str, Any]) -> Session:
        """The row as it is to be saved."""
        row = super().create_model_instance(data)
        assert isinstance(row, Session)
        row.user_id = int(data[SESSION_KEY]) if SESSION_KEY in data else None
        row.origin = data.get(ORIGIN, "")
        row.agent = data.get(AGENT, "")
        at = data.get(SIGNED_IN_AT)
        row.signed_in_at = None if at is None else datetime.fromtimestamp(at, UTC)
        row.seen_at = timezone.now()
        return row

    def _get_session_from_db(self) -> Session | None:
        row: Session | None = super()._get_session_from_db()  # type: ignore[misc]  # not in its stubs
        now = timezone.now()
        if row is not None and row.user_id is not None and now - row.seen_at > SEEN_EVERY:
            Session.objects.filter(pk=row.pk).update(seen_at=now)
        return row
