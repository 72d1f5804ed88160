"""What is left of who makes or awaits a cached output goes with its run."""

from django.db import migrations

FORWARD = """
ALTER TABLE cache_flight DROP CONSTRAINT cache_flight_same_tenant;
ALTER TABLE cache_flight ADD CONSTRAINT cache_flight_same_tenant
    FOREIGN KEY (tenant_id, run_id) REFERENCES run (tenant_id, id) ON DELETE CASCADE;
"""
BACKWARD = """
ALTER TABLE cache_flight DROP CONSTRAINT cache_flight_same_tenant;
ALTER TABLE cache_flight ADD CONSTRAINT cache_flight_same_tenant
    FOREIGN KEY (tenant_id, run_id) REFERENCES run (tenant_id, id);
"""


class Migration(migrations.Migration):
    dependencies = (("orchestrator", "0210_lost_first"),)
    operations = (migrations.RunSQL(FORWARD, BACKWARD),)
