"""What Django cannot declare: partitions, composite foreign keys, storage settings, first rows."""

from django.db import migrations

FORWARD = """
CREATE TABLE event (
    tenant_id int NOT NULL,
    seq bigint NOT NULL,
    at timestamptz NOT NULL,
    type text NOT NULL,
    run_id uuid,
    ordinal int,
    batch int,
    attempt int,
    worker_id int,
    value_s double precision,
    actor text,
    data text
) PARTITION BY RANGE (at);
CREATE INDEX event_position ON event (tenant_id, seq);
CREATE INDEX event_run ON event (run_id, seq) WHERE run_id IS NOT NULL;
CREATE TABLE event_other PARTITION OF event DEFAULT;

ALTER TABLE workflow_version ADD CONSTRAINT workflow_version_same_tenant
    FOREIGN KEY (tenant_id, workflow_id) REFERENCES workflow (tenant_id, id) ON DELETE CASCADE;
ALTER TABLE version_step ADD CONSTRAINT version_step_same_tenant
    FOREIGN KEY (tenant_id, version_id) REFERENCES workflow_version (tenant_id, id) ON DELETE CASCADE;
ALTER TABLE run ADD CONSTRAINT run_same_tenant
    FOREIGN KEY (tenant_id, version_id) REFERENCES workflow_version (tenant_id, id);
ALTER TABLE run ADD CONSTRAINT run_workflow_same_tenant
    FOREIGN KEY (tenant_id, workflow_id) REFERENCES workflow (tenant_id, id);
ALTER TABLE step_run ADD CONSTRAINT step_run_same_tenant
    FOREIGN KEY (tenant_id, run_id) REFERENCES run (tenant_id, id);
ALTER TABLE idempotency_key ADD CONSTRAINT idempotency_key_same_tenant
    FOREIGN KEY (tenant_id, workflow_id) REFERENCES workflow (tenant_id, id) ON DELETE CASCADE;

ALTER TABLE tenant_load SET (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE server_load SET (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE run SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
ALTER TABLE step_run SET (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05);
ALTER TABLE control SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

INSERT INTO server_load (slot) SELECT generate_series(-1, 15);
"""

BACKWARD = """
DELETE FROM server_load;
ALTER TABLE idempotency_key DROP CONSTRAINT idempotency_key_same_tenant;
ALTER TABLE step_run DROP CONSTRAINT step_run_same_tenant;
ALTER TABLE run DROP CONSTRAINT run_workflow_same_tenant;
ALTER TABLE run DROP CONSTRAINT run_same_tenant;
ALTER TABLE version_step DROP CONSTRAINT version_step_same_tenant;
ALTER TABLE workflow_version DROP CONSTRAINT workflow_version_same_tenant;
DROP TABLE event;
"""


class Migration(migrations.Migration):
    dependencies = (("orchestrator", "0001_initial"),)
    operations = (migrations.RunSQL(FORWARD, BACKWARD),)
