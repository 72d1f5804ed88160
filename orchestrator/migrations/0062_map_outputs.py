"""Outputs of maps that SQL puts together are payloads too, in parts of about 1 MiB."""

from django.db import migrations, models

ONE_PLACE = models.Q(
    models.Q(("body__isnull", True), ("data__isnull", False), ("object_key__isnull", True)),
    models.Q(("body__isnull", True), ("data__isnull", True), ("object_key__isnull", False)),
    models.Q(("body__isnull", False), ("data__isnull", True), ("object_key__isnull", True)),
    _connector="OR",
)


class Migration(migrations.Migration):
    dependencies = (("orchestrator", "0061_saga_keys"),)
    operations = (
        migrations.RemoveConstraint(model_name="payload", name="payload_one_place"),
        migrations.AddField(model_name="payload", name="body", field=models.TextField(null=True)),
        migrations.AddConstraint(
            model_name="payload",
            constraint=models.CheckConstraint(condition=ONE_PLACE, name="payload_one_place"),
        ),
    )
