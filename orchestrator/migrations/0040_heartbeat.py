"""Heartbeats of running steps, with the progress that the next attempt reads."""

from django.db import migrations, models

FORWARD = """
ALTER TABLE heartbeat ADD CONSTRAINT heartbeat_same_tenant
    FOREIGN KEY (tenant_id, run_id) REFERENCES run (tenant_id, id);
ALTER TABLE heartbeat SET (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
"""
BACKWARD = "ALTER TABLE heartbeat DROP CONSTRAINT heartbeat_same_tenant;"


class Migration(migrations.Migration):
    dependencies = (("orchestrator", "0036_waiting_links"),)
    operations = (
        migrations.CreateModel(
            name="Heartbeat",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "run_id",
                        "ordinal",
                        "batch",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("tenant_id", models.IntegerField()),
                ("run_id", models.UUIDField()),
                ("ordinal", models.IntegerField()),
                ("batch", models.IntegerField(db_default=0)),
                ("epoch", models.IntegerField()),
                ("at", models.DateTimeField()),
                ("progress", models.TextField(null=True)),
            ],
            options={"db_table": "heartbeat"},
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
