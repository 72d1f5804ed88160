"""Maps that a compensation lets try again what failed."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = (("orchestrator", "0062_map_outputs"),)
    operations = (
        migrations.AddField("mapstate", "again", models.IntegerField(db_default=0)),
        migrations.AddField("mapstate", "again_after", models.IntegerField(db_default=0)),
    )
