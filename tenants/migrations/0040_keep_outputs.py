"""Whether a tenant keeps its steps' outputs once their run has succeeded."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("tenants", "0002_names"),)
    operations = (
        migrations.AddField(
            model_name="quota",
            name="keep_outputs",
            field=models.BooleanField(db_default=True, default=True),
        ),
    )
