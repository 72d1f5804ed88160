"""Payloads of more than 8 KiB, apart from the rows that refer to them."""

from django.contrib.postgres.functions import RandomUUID
from django.db import migrations, models
from django.db.models.functions import Now

FORWARD = """
ALTER TABLE payload ADD CONSTRAINT payload_same_tenant
    FOREIGN KEY (tenant_id, run_id) REFERENCES run (tenant_id, id);
ALTER TABLE payload ADD CONSTRAINT payload_tenant
    FOREIGN KEY (tenant_id) REFERENCES tenant (id) ON DELETE CASCADE;
-- compressed already
ALTER TABLE payload ALTER COLUMN data SET STORAGE EXTERNAL;
"""
BACKWARD = """
ALTER TABLE payload DROP CONSTRAINT payload_tenant;
ALTER TABLE payload DROP CONSTRAINT payload_same_tenant;
"""


class Migration(migrations.Migration):
    dependencies = (("orchestrator", "0041_cache"),)
    operations = (
        migrations.CreateModel(
            name="StoredObject",
            fields=[
                ("key", models.TextField(primary_key=True, serialize=False)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("orphaned_at", models.DateTimeField(null=True)),
            ],
            options={"db_table": "stored_object"},
        ),
        migrations.CreateModel(
            name="Payload",
            fields=[
                (
                    "id",
                    models.UUIDField(db_default=RandomUUID(), primary_key=True, serialize=False),
                ),
                ("tenant_id", models.IntegerField()),
                ("run_id", models.UUIDField(null=True)),
                ("cache_key", models.TextField(null=True)),
                ("size", models.BigIntegerField()),
                ("data", models.BinaryField(null=True)),
                ("object_key", models.TextField(null=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            options={
                "db_table": "payload",
                "indexes": [
                    models.Index(
                        condition=models.Q(("run_id__isnull", False)),
                        fields=["run_id"],
                        name="payload_run",
                    ),
                    models.Index(
                        condition=models.Q(("cache_key__isnull", False)),
                        fields=["tenant_id", "cache_key"],
                        name="payload_cache",
                    ),
                    models.Index(
                        condition=models.Q(("object_key__isnull", False)),
                        fields=["object_key"],
                        name="payload_object",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("data__isnull", False), ("object_key__isnull", True)),
                            models.Q(("data__isnull", True), ("object_key__isnull", False)),
                            _connector="OR",
                        ),
                        name="payload_one_place",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("cache_key__isnull", True), ("run_id__isnull", False)),
                            models.Q(("cache_key__isnull", False), ("run_id__isnull", True)),
                            _connector="OR",
                        ),
                        name="payload_one_owner",
                    ),
                ],
            },
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
