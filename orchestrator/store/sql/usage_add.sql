-- Purpose: add what was measured to its buckets of each width.
-- Index:   usage's key.  Guard: rows are written in the order of their key, whoever writes them.
INSERT INTO usage AS u (tenant_id, width_s, at, entitled_s, received_s, peak_connections, peak_active_runs,
                        peak_waiting_steps, storage_bytes, requests, bytes)
SELECT d.tenant_id, w.width_s, to_timestamp(d.at - d.at %% w.width_s),
       sum(d.entitled_s), sum(d.received_s), max(d.connections), max(d.active_runs), max(d.waiting_steps),
       max(d.storage), sum(d.requests), sum(d.bytes)
  FROM unnest(%(tenants)s::int[], %(ats)s::bigint[], %(entitled)s::float8[], %(received)s::float8[],
              %(connections)s::int[], %(active_runs)s::int[], %(waiting_steps)s::int[], %(storage)s::bigint[],
              %(requests)s::bigint[], %(bytes)s::bigint[])
       AS d (tenant_id, at, entitled_s, received_s, connections, active_runs, waiting_steps, storage, requests, bytes)
 CROSS JOIN unnest(%(widths)s::int[]) AS w (width_s)
 GROUP BY 1, 2, 3
 ORDER BY 1, 2, 3
    ON CONFLICT (tenant_id, width_s, at) DO UPDATE SET
       entitled_s = u.entitled_s + excluded.entitled_s,
       received_s = u.received_s + excluded.received_s,
       peak_connections = greatest(u.peak_connections, excluded.peak_connections),
       peak_active_runs = greatest(u.peak_active_runs, excluded.peak_active_runs),
       peak_waiting_steps = greatest(u.peak_waiting_steps, excluded.peak_waiting_steps),
       storage_bytes = greatest(u.storage_bytes, excluded.storage_bytes),
       requests = u.requests + excluded.requests,
       bytes = u.bytes + excluded.bytes
