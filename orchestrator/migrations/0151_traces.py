from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("orchestrator", "0150_attempt_log"),)
    operations = (
        migrations.AddField(model_name="run", name="trace", field=models.TextField(null=True)),
        migrations.CreateModel(
            name="TraceCursor",
            fields=[
                ("tenant_id", models.IntegerField(primary_key=True, serialize=False)),
                ("seq", models.BigIntegerField()),
            ],
            options={"db_table": "trace_cursor"},
        ),
    )
