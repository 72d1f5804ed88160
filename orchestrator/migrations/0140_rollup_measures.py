"""Statistics by the minute too; timeouts, events, readiness; histograms of what was since the beginning.

Minutes of the past are not made of what is there: windows that read them fill as time goes on."""

import django.contrib.postgres.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orchestrator", "0090_usage"),
    ]

    operations = [
        migrations.RunSQL(
            "ALTER TABLE event ADD COLUMN lag_s double precision",
            "ALTER TABLE event DROP COLUMN lag_s",
        ),
        migrations.AddField(
            model_name="rollup",
            name="events",
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="rollup",
            name="ready_sketch",
            field=models.BinaryField(null=True),
        ),
        migrations.AddField(
            model_name="rollup",
            name="runs_timed_out",
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="rollup",
            name="timeouts",
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="rollupcursor",
            name="attempt_histogram",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.BigIntegerField(), db_default=[], size=None
            ),
        ),
        migrations.AddField(
            model_name="rollupcursor",
            name="attempt_sum_s",
            field=models.FloatField(db_default=0.0),
        ),
        migrations.AddField(
            model_name="rollupcursor",
            name="events",
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="rollupcursor",
            name="queue_histogram",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.BigIntegerField(), db_default=[], size=None
            ),
        ),
        migrations.AddField(
            model_name="rollupcursor",
            name="queue_sum_s",
            field=models.FloatField(db_default=0.0),
        ),
        migrations.AddField(
            model_name="rollupcursor",
            name="ready_histogram",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.BigIntegerField(), db_default=[], size=None
            ),
        ),
        migrations.AddField(
            model_name="rollupcursor",
            name="ready_sum_s",
            field=models.FloatField(db_default=0.0),
        ),
        migrations.AddField(
            model_name="rollupcursor",
            name="run_histogram",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.BigIntegerField(), db_default=[], size=None
            ),
        ),
        migrations.AddField(
            model_name="rollupcursor",
            name="run_sum_s",
            field=models.FloatField(db_default=0.0),
        ),
        migrations.AddField(
            model_name="rollupcursor",
            name="runs_timed_out",
            field=models.BigIntegerField(db_default=0),
        ),
        migrations.AddField(
            model_name="rollupcursor",
            name="timeouts",
            field=models.BigIntegerField(db_default=0),
        ),
    ]
