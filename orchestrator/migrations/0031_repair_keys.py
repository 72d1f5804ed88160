"""What Django cannot declare: a row of one tenant never refers to another's."""

from django.db import migrations

FORWARD = """
ALTER TABLE dead_letter ADD CONSTRAINT dead_letter_same_tenant
    FOREIGN KEY (tenant_id, run_id) REFERENCES run (tenant_id, id) ON DELETE CASCADE;
ALTER TABLE dead_letter ADD CONSTRAINT dead_letter_workflow_same_tenant
    FOREIGN KEY (tenant_id, workflow_id) REFERENCES workflow (tenant_id, id) ON DELETE CASCADE;
ALTER TABLE action_item ADD CONSTRAINT action_item_same_tenant
    FOREIGN KEY (tenant_id, action_id) REFERENCES action (tenant_id, id) ON DELETE CASCADE;
"""

BACKWARD = """
ALTER TABLE action_item DROP CONSTRAINT action_item_same_tenant;
ALTER TABLE dead_letter DROP CONSTRAINT dead_letter_workflow_same_tenant;
ALTER TABLE dead_letter DROP CONSTRAINT dead_letter_same_tenant;
"""


class Migration(migrations.Migration):
    dependencies = (("orchestrator", "0030_repair"),)
    operations = (migrations.RunSQL(FORWARD, BACKWARD),)
