"""What a person signs in with besides a password."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models.functions import Now


class Totp(models.Model):
    """A person's second factor: codes of six digits from an authenticator (RFC 6238).

    `secret` is sealed (tenants.sealing).  It counts once `confirmed_at` is set.  `last_step` is the
    last 30 s whose code was taken: no code is taken twice."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="totp"
    )
    secret = models.BinaryField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    confirmed_at = models.DateTimeField(null=True, editable=False)
    last_step = models.BigIntegerField(default=0)
    failure_count = models.IntegerField(default=0)
    failed_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        db_table = "totp"

    def __str__(self) -> str:
        return f"second factor of {self.user}"


class RecoveryCode(models.Model):
    """A code that stands in for the second factor once: its SHA-256, until it is used."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="recovery_codes"
    )
    digest = models.BinaryField()

    class Meta:
        db_table = "recovery_code"
        constraints = (
            models.UniqueConstraint(fields=("user", "digest"), name="recovery_code_once"),
        )

    def __str__(self) -> str:
        return f"recovery code of {self.user}"


class Identity(models.Model):
    """Who a person is to an OpenID Connect provider.  Names and e-mail addresses connect nobody:
    they can be taken by somebody else."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="identities")
    issuer = models.TextField()
    subject = models.TextField()
    shown = models.TextField(blank=True, default="")
    """What the provider calls the person, to be recognised by them."""
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "identity"
        verbose_name_plural = "identities"
        constraints = (models.UniqueConstraint(fields=("issuer", "subject"), name="identity_once"),)

    def __str__(self) -> str:
        return f"{self.subject} of {self.issuer}"
