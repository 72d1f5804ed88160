"""Browsers that are signed in."""

from __future__ import annotations

from django.conf import settings
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models


class Session(AbstractBaseSession):
    """A session, and whose it is, so that a person's can be listed and ended."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, related_name="sessions"
    )
    origin = models.TextField(default="")
    agent = models.TextField(default="")
    signed_in_at = models.DateTimeField(null=True)
    seen_at = models.DateTimeField()

    class Meta(AbstractBaseSession.Meta):
        db_table = "session"
