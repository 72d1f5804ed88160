"""Pauses, dead letters and bulk actions."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orchestrator", "0021_names"),
        ("tenants", "0002_names"),
    ]

    operations = [
        migrations.CreateModel(
            name="Action",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("kind", models.TextField()),
                ("filter", models.TextField()),
                ("actor", models.TextField()),
                ("total", models.IntegerField()),
                ("done_count", models.IntegerField(db_default=0)),
                ("passed_count", models.IntegerField(db_default=0)),
                ("rate_per_s", models.FloatField()),
                (
                    "due_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("finished_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "action",
            },
        ),
        migrations.CreateModel(
            name="ActionItem",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "action_id",
                        "place",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("action_id", models.UUIDField()),
                ("place", models.IntegerField()),
                ("tenant_id", models.IntegerField()),
                ("letter_id", models.BigIntegerField()),
                ("outcome", models.TextField(null=True)),
            ],
            options={
                "db_table": "action_item",
            },
        ),
        migrations.CreateModel(
            name="DeadLetter",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("ordinal", models.IntegerField()),
                ("code", models.TextField()),
                ("type", models.TextField(null=True)),
                ("message", models.TextField()),
                ("fingerprint", models.TextField()),
                ("attempts", models.IntegerField()),
                ("losses", models.SmallIntegerField()),
                ("failed_at", models.DateTimeField()),
            ],
            options={
                "db_table": "dead_letter",
            },
        ),
        migrations.RemoveIndex(
            model_name="control",
            name="control_tenant",
        ),
        migrations.AddField(
            model_name="control",
            name="held",
            field=models.BooleanField(db_default=False),
        ),
        migrations.AddField(
            model_name="run",
            name="paused_at",
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name="run",
            name="resume_ms",
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name="tenantload",
            name="paused_count",
            field=models.IntegerField(db_default=0),
        ),
        migrations.AddIndex(
            model_name="control",
            index=models.Index(
                condition=models.Q(("held", False)), fields=["tenant_id"], name="control_tenant"
            ),
        ),
        migrations.AddIndex(
            model_name="control",
            index=models.Index(
                condition=models.Q(("held", True)), fields=["tenant_id"], name="control_held"
            ),
        ),
        migrations.AddConstraint(
            model_name="run",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("paused_at__isnull", False), ("state", "paused")),
                    models.Q(
                        models.Q(("state", "paused"), _negated=True), ("paused_at__isnull", True)
                    ),
                    _connector="OR",
                ),
                name="run_paused_iff_at",
            ),
        ),
        migrations.AddField(
            model_name="action",
            name="tenant",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="tenants.tenant",
            ),
        ),
        migrations.AddIndex(
            model_name="actionitem",
            index=models.Index(
                condition=models.Q(("outcome__isnull", True)),
                fields=["action_id", "place"],
                name="action_item_open",
            ),
        ),
        migrations.AddField(
            model_name="deadletter",
            name="run",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="orchestrator.run",
            ),
        ),
        migrations.AddField(
            model_name="deadletter",
            name="tenant",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="tenants.tenant",
            ),
        ),
        migrations.AddField(
            model_name="deadletter",
            name="version",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="orchestrator.workflowversion",
            ),
        ),
        migrations.AddField(
            model_name="deadletter",
            name="workflow",
            field=models.ForeignKey(
                db_constraint=False,
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to="orchestrator.workflow",
            ),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", True)),
                fields=["due_at"],
                name="action_due",
            ),
        ),
        migrations.AddIndex(
            model_name="action",
            index=models.Index(fields=["tenant", "-created_at", "-id"], name="action_newest"),
        ),
        migrations.AddConstraint(
            model_name="action",
            constraint=models.UniqueConstraint(fields=("tenant", "id"), name="action_tenant"),
        ),
        migrations.AddConstraint(
            model_name="action",
            constraint=models.CheckConstraint(
                condition=models.Q(("rate_per_s__gt", 0), ("total__gte", 0)), name="action_counts"
            ),
        ),
        migrations.AddIndex(
            model_name="deadletter",
            index=models.Index(fields=["tenant", "-failed_at", "-id"], name="dead_letter_newest"),
        ),
        migrations.AddIndex(
            model_name="deadletter",
            index=models.Index(
                fields=["tenant", "fingerprint", "-failed_at", "-id"], name="dead_letter_group"
            ),
        ),
        migrations.AddConstraint(
            model_name="deadletter",
            constraint=models.UniqueConstraint(
                fields=("tenant", "run", "ordinal"), name="dead_letter_step"
            ),
        ),
    ]
