"""Outputs kept under a key, and who makes or awaits one."""

from django.db import migrations, models
from django.db.models.functions import Now

FORWARD = """
ALTER TABLE cache_flight ADD CONSTRAINT cache_flight_same_tenant
    FOREIGN KEY (tenant_id, run_id) REFERENCES run (tenant_id, id);
ALTER TABLE cache_entry ADD CONSTRAINT cache_entry_tenant
    FOREIGN KEY (tenant_id) REFERENCES tenant (id) ON DELETE CASCADE;
ALTER TABLE cache_flight SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
"""
BACKWARD = """
ALTER TABLE cache_entry DROP CONSTRAINT cache_entry_tenant;
ALTER TABLE cache_flight DROP CONSTRAINT cache_flight_same_tenant;
"""
KEY = {"blank": True, "editable": False, "primary_key": True, "serialize": False}


class Migration(migrations.Migration):
    dependencies = (("orchestrator", "0040_heartbeat"),)
    operations = (
        migrations.CreateModel(
            name="CacheEntry",
            fields=[
                ("pk", models.CompositePrimaryKey("tenant_id", "key", **KEY)),
                ("tenant_id", models.IntegerField()),
                ("key", models.TextField()),
                ("output", models.TextField(null=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
                ("expires_at", models.DateTimeField()),
            ],
            options={"db_table": "cache_entry"},
        ),
        migrations.CreateModel(
            name="CacheFlight",
            fields=[
                ("pk", models.CompositePrimaryKey("run_id", "ordinal", "batch", **KEY)),
                ("tenant_id", models.IntegerField()),
                ("run_id", models.UUIDField()),
                ("ordinal", models.IntegerField()),
                ("batch", models.IntegerField(db_default=0)),
                ("key", models.TextField()),
                ("ttl_ms", models.BigIntegerField()),
                ("flying", models.BooleanField()),
                ("control", models.BooleanField(db_default=False)),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            options={"db_table": "cache_flight"},
        ),
        migrations.AddIndex(
            model_name="cacheentry",
            index=models.Index(fields=["expires_at"], name="cache_entry_expired"),
        ),
        migrations.AddIndex(
            model_name="cacheentry",
            index=models.Index(fields=["tenant_id", "expires_at"], name="cache_entry_expiry"),
        ),
        migrations.AddIndex(
            model_name="cacheflight",
            index=models.Index(
                fields=["tenant_id", "key", "flying", "created_at"], name="cache_flight_line"
            ),
        ),
        migrations.AddConstraint(
            model_name="cacheflight",
            constraint=models.UniqueConstraint(
                condition=models.Q(("flying", True)),
                fields=("tenant_id", "key"),
                name="cache_flight_single",
            ),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
