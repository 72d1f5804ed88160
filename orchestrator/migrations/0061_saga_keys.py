"""A version's calls belong to its tenant."""

from django.db import migrations

FORWARD = """
ALTER TABLE version_call ADD CONSTRAINT version_call_same_tenant
    FOREIGN KEY (tenant_id, version_id) REFERENCES workflow_version (tenant_id, id) ON DELETE CASCADE;
"""
BACKWARD = "ALTER TABLE version_call DROP CONSTRAINT version_call_same_tenant;"


class Migration(migrations.Migration):
    dependencies = (("orchestrator", "0060_saga"),)
    operations = (migrations.RunSQL(FORWARD, BACKWARD),)
