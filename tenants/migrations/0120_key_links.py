"""A key that took another's place took it within its tenant."""

from django.db import migrations, models

FORWARD = """
ALTER TABLE api_key ADD CONSTRAINT api_key_rotated_same_tenant
    FOREIGN KEY (tenant_id, rotated_from_id) REFERENCES api_key (tenant_id, id) DEFERRABLE INITIALLY DEFERRED;
"""
BACKWARD = "ALTER TABLE api_key DROP CONSTRAINT api_key_rotated_same_tenant;"


class Migration(migrations.Migration):
    dependencies = (("tenants", "0111_secrets"),)
    operations = (
        migrations.AddConstraint(
            "apikey", models.UniqueConstraint(fields=("tenant", "id"), name="api_key_tenant")
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
