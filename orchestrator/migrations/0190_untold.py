from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orchestrator", "0181_notification_total"),
    ]

    operations = [
        migrations.AlterField(
            model_name="alertdelivery",
            name="told_at",
            field=models.DateTimeField(null=True),
        ),
    ]
