"""The audit log takes rows and gives none back, save what is older than it is kept."""

import django.db.models.deletion
from django.db import migrations, models

FORWARD = """
CREATE FUNCTION audit_entry_stays() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('millrace.audit_forgets', true) = 'on'
       AND OLD.at < now() - interval '30 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log takes new rows only: % is refused', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER audit_entry_stays BEFORE UPDATE OR DELETE ON audit_entry
    FOR EACH ROW EXECUTE FUNCTION audit_entry_stays();
CREATE TRIGGER audit_entry_stays_whole BEFORE TRUNCATE ON audit_entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit_entry_stays();

-- Takes away at most p_limit rows that are older than p_days (30 at least); answers how many.
CREATE FUNCTION audit_forget(p_days int, p_limit int) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE v_count bigint;
BEGIN
    PERFORM set_config('millrace.audit_forgets', 'on', true);
    DELETE FROM audit_entry e USING (
        SELECT o.id FROM audit_entry o
         WHERE o.at < now() - make_interval(days => greatest(p_days, 30))
         ORDER BY o.at LIMIT p_limit) d
     WHERE e.id = d.id;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    PERFORM set_config('millrace.audit_forgets', 'off', true);
    RETURN v_count;
END
$$;
DO $$
BEGIN
    EXECUTE format('ALTER FUNCTION audit_forget(int, int) SET search_path = %I, pg_temp', current_schema());
END
$$;
REVOKE UPDATE, DELETE, TRUNCATE ON audit_entry FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION audit_forget(int, int) FROM PUBLIC;
"""

BACKWARD = """
DROP FUNCTION audit_forget(int, int);
DROP TRIGGER audit_entry_stays_whole ON audit_entry;
DROP TRIGGER audit_entry_stays ON audit_entry;
DROP FUNCTION audit_entry_stays();
"""


class Migration(migrations.Migration):
    dependencies = (("tenants", "0100_people"),)
    operations = (
        migrations.RemoveIndex(model_name="auditentry", name="audit_entry_newest"),
        migrations.AlterField(
            model_name="auditentry",
            name="tenant",
            field=models.ForeignKey(
                db_constraint=False,
                null=True,
                on_delete=django.db.models.deletion.DO_NOTHING,
                related_name="audit_entries",
                to="tenants.tenant",
            ),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["tenant", "-id"], name="audit_entry_newest"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["tenant", "action", "-id"], name="audit_entry_action"),
        ),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["at"], name="audit_entry_age"),
        ),
        migrations.RunSQL(FORWARD, BACKWARD),
    )
