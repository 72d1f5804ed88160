"""The workflows of a tenant in a window, for the busiest of them."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orchestrator", "0190_untold"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="rollup",
            index=models.Index(
                fields=["tenant_id", "width_s", "at"],
                condition=models.Q(workflow_id__gt=0),
                name="rollup_busiest",
            ),
        ),
    ]
