-- Purpose: move the tenants' cursors.  Guard: they are locked by this transaction.
UPDATE sla_cursor c SET seq = d.seq
  FROM unnest(%(tenants)s::int[], %(seqs)s::bigint[]) AS d (tenant_id, seq)
 WHERE c.tenant_id = d.tenant_id
