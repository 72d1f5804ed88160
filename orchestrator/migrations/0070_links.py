"""What referred to a version by its number alone refers to it within its tenant."""

from django.db import migrations

FORWARD = """
ALTER TABLE dead_letter ADD CONSTRAINT dead_letter_version_same_tenant
    FOREIGN KEY (tenant_id, version_id) REFERENCES workflow_version (tenant_id, id) ON DELETE CASCADE;
ALTER TABLE map_state ADD CONSTRAINT map_state_version_same_tenant
    FOREIGN KEY (tenant_id, version_id) REFERENCES workflow_version (tenant_id, id) ON DELETE CASCADE;
"""
BACKWARD = """
ALTER TABLE map_state DROP CONSTRAINT map_state_version_same_tenant;
ALTER TABLE dead_letter DROP CONSTRAINT dead_letter_version_same_tenant;
"""


class Migration(migrations.Migration):
    dependencies = (("orchestrator", "0063_maps_again"),)
    operations = (migrations.RunSQL(FORWARD, BACKWARD),)
