"""Tenants' secrets, sealed, with a history that has no values."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

FORWARD = """
ALTER TABLE secret_version ADD CONSTRAINT secret_version_same_tenant
    FOREIGN KEY (tenant_id, secret_id) REFERENCES secret (tenant_id, id) ON DELETE CASCADE;
"""
BACKWARD = "ALTER TABLE secret_version DROP CONSTRAINT secret_version_same_tenant;"
NOW = django.db.models.functions.datetime.Now()


class Migration(migrations.Migration):
    dependencies = (("tenants", "0110_audit"),)
    operations = (
        migrations.CreateModel(
            name="Secret",
            fields=[
                (
                    "id",
                    models.AutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.TextField()),
                ("sealed", models.BinaryField()),
                ("version", models.IntegerField(default=1)),
                ("created_at", models.DateTimeField(db_default=NOW, editable=False)),
                ("updated_at", models.DateTimeField(db_default=NOW, editable=False)),
                ("updated_by", models.TextField(blank=True, default="")),
                ("last_used_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="secrets",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "db_table": "secret",
                "constraints": [
                    models.UniqueConstraint(fields=("tenant", "name"), name="secret_name"),
                    models.UniqueConstraint(fields=("tenant", "id"), name="secret_tenant"),
                    models.CheckConstraint(
                        condition=models.Q(("name__regex", "^[A-Za-z_][A-Za-z0-9_]{0,62}$")),
                        name="secret_name_form",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="SecretVersion",
            fields=[
                (
                    "id",
                    models.AutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("version", models.IntegerField()),
                ("created_at", models.DateTimeField(db_default=NOW, editable=False)),
                ("created_by", models.TextField(blank=True, default="")),
                (
                    "secret",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="versions",
                        to="tenants.secret",
                    ),
                ),
                (
                    "tenant",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "db_table": "secret_version",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("secret", "version"), name="secret_version_once"
                    ),
                ],
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
