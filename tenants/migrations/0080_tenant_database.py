"""Each tenant's role and schema, or its database elsewhere."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("tenants", "0040_keep_outputs"),)
    operations = (
        migrations.CreateModel(
            name="TenantDatabase",
            fields=[
                (
                    "tenant",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="database",
                        serialize=False,
                        to="tenants.tenant",
                    ),
                ),
                ("password", models.BinaryField()),
                ("external", models.BinaryField(null=True)),
                ("external_name", models.TextField(blank=True, db_default="", default="")),
                (
                    "updated_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False
                    ),
                ),
                ("wait_count", models.BigIntegerField(db_default=0, default=0)),
                ("waited_s", models.FloatField(db_default=0.0, default=0.0)),
                ("waited_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "tenant_database",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(external__isnull=True, external_name="")
                        | (models.Q(external__isnull=False) & ~models.Q(external_name="")),
                        name="tenant_database_external",
                    )
                ],
            },
        ),
    )
