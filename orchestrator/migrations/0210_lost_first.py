"""Steps that were lost before, to be found among any number of others."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orchestrator", "0200_rollup_busiest"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="steprun",
            index=models.Index(
                fields=["tenant"],
                condition=models.Q(state="ready", suspect=True),
                name="step_run_lost",
            ),
        ),
    ]
