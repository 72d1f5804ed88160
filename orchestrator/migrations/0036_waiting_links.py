"""Links of waiting that Django cannot declare: they never lead out of a tenant."""

from django.db import migrations

FORWARD = """
ALTER TABLE run ADD CONSTRAINT run_parent_same_tenant
    FOREIGN KEY (tenant_id, parent_id) REFERENCES run (tenant_id, id) ON DELETE SET NULL (parent_id);
ALTER TABLE signal ADD CONSTRAINT signal_same_tenant
    FOREIGN KEY (tenant_id, run_id) REFERENCES run (tenant_id, id) ON DELETE CASCADE;
"""

BACKWARD = """
ALTER TABLE signal DROP CONSTRAINT signal_same_tenant;
ALTER TABLE run DROP CONSTRAINT run_parent_same_tenant;
"""


class Migration(migrations.Migration):
    dependencies = [("orchestrator", "0035_waiting")]
    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
