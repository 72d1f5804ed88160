"""Which tenants metrics name; waits for connections are counted beside everything else."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orchestrator", "0140_rollup_measures"),
    ]

    operations = [
        migrations.AddField(
            model_name="rollupcursor",
            name="connection_wait_s",
            field=models.FloatField(db_default=0.0),
        ),
        migrations.AddField(
            model_name="rollupcursor",
            name="connection_waits",
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="rollupcursor",
            name="own",
            field=models.BooleanField(db_default=False),
        ),
    ]
