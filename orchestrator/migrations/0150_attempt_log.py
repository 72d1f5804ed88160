"""The lines of handlers: append-only, in daily partitions, without foreign keys."""

from django.db import migrations, models

FORWARD = """
CREATE SEQUENCE attempt_log_id;
CREATE TABLE attempt_log (
    id bigint NOT NULL,
    tenant_id int NOT NULL,
    at timestamptz NOT NULL,
    run_id uuid NOT NULL,
    ordinal int NOT NULL,
    batch int NOT NULL,
    epoch int NOT NULL,
    attempt int NOT NULL,
    line int NOT NULL,
    level smallint NOT NULL,
    message text NOT NULL,
    fields text
) PARTITION BY RANGE (at);
ALTER SEQUENCE attempt_log_id OWNED BY attempt_log.id;
CREATE INDEX attempt_log_run ON attempt_log (tenant_id, run_id, id);
CREATE INDEX attempt_log_step ON attempt_log (tenant_id, run_id, ordinal, id);
CREATE TABLE attempt_log_other PARTITION OF attempt_log DEFAULT;
"""

BACKWARD = "DROP TABLE attempt_log"


class Migration(migrations.Migration):
    dependencies = (("orchestrator", "0142_version_newest"),)
    operations = (
        migrations.CreateModel(
            name="AttemptLog",
            fields=[
                ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("tenant_id", models.IntegerField()),
                ("at", models.DateTimeField()),
                ("run_id", models.UUIDField()),
                ("ordinal", models.IntegerField()),
                ("batch", models.IntegerField()),
                ("epoch", models.IntegerField()),
                ("attempt", models.IntegerField()),
                ("line", models.IntegerField()),
                ("level", models.SmallIntegerField()),
                ("message", models.TextField()),
                ("fields", models.TextField(null=True)),
            ],
            options={"db_table": "attempt_log", "managed": False},
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
