"""Outputs kept under a key, and the steps that make or await one."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class CacheEntry(models.Model):
    """A step's output, kept per tenant under a key until it expires.

    `key` is a SHA-256 over the handler and the evaluated `cache.key`."""

    pk = models.CompositePrimaryKey("tenant_id", "key")
    tenant_id = models.IntegerField()
    key = models.TextField()
    output = models.TextField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "cache_entry"
        indexes = (
            models.Index(fields=("expires_at",), name="cache_entry_expired"),
            models.Index(fields=("tenant_id", "expires_at"), name="cache_entry_expiry"),
        )

    def __str__(self) -> str:
        return self.key


class CacheFlight(models.Model):
    """A step run that makes the output of a key (`flying`: one per tenant and key), or waits for it."""

    pk = models.CompositePrimaryKey("run_id", "ordinal", "batch")
    tenant_id = models.IntegerField()
    run_id = models.UUIDField()
    ordinal = models.IntegerField()
    batch = models.IntegerField(db_default=0)
    key = models.TextField()
    ttl_ms = models.BigIntegerField()
    flying = models.BooleanField()
    control = models.BooleanField(db_default=False)
    """Whether what makes the output is control work (a step that calls no handler itself)."""
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "cache_flight"
        constraints = (
            models.UniqueConstraint(
                fields=("tenant_id", "key"),
                condition=models.Q(flying=True),
                name="cache_flight_single",
            ),
        )
        indexes = (
            models.Index(
                fields=("tenant_id", "key", "flying", "created_at"), name="cache_flight_line"
            ),
        )

    def __str__(self) -> str:
        return f"{self.run_id}/{self.ordinal} {'makes' if self.flying else 'awaits'} {self.key[:8]}"
