"""Outputs that nobody needs any more: which versions may need them, and which runs lost theirs."""

from django.db import migrations, models

FORWARD = """
ALTER TABLE spent_run ADD CONSTRAINT spent_run_same_tenant
    FOREIGN KEY (tenant_id, run_id) REFERENCES run (tenant_id, id) ON DELETE CASCADE;
"""
BACKWARD = "ALTER TABLE spent_run DROP CONSTRAINT spent_run_same_tenant;"


class Migration(migrations.Migration):
    dependencies = (("orchestrator", "0042_payload"), ("tenants", "0040_keep_outputs"))
    operations = (
        migrations.AddField(
            model_name="workflowversion",
            name="has_undo",
            field=models.BooleanField(db_default=False, default=False),
        ),
        migrations.AddField(
            model_name="run", name="outputs_dropped_at", field=models.DateTimeField(null=True)
        ),
        migrations.CreateModel(
            name="SpentRun",
            fields=[
                ("run_id", models.UUIDField(primary_key=True, serialize=False)),
                ("tenant_id", models.IntegerField()),
            ],
            options={"db_table": "spent_run"},
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
