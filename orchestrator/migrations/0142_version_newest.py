"""The newest versions of a tenant, for what charts mark."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orchestrator", "0141_metric_labels"),
        ("tenants", "0120_key_links"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="workflowversion",
            index=models.Index(fields=["tenant", "-created_at"], name="workflow_version_newest"),
        ),
    ]
