-- Purpose: the messages that are due, with their channels; of each channel some: those that were not tried
--          yet before others, of these the ones that are due longest.
-- Index:   notification_due; few are due at any time.
-- Guard:   rows are locked, and what somebody sends (claimed_until) is left alone; who locks writes the
--          claim in the same transaction.
-- Input:   busy: messages that this process sends; full, crowded: tenants (0: the server) and channels
--          that get no more now.
WITH due AS MATERIALIZED (
    SELECT n.id, n.next_at,
           row_number() OVER (PARTITION BY n.channel_id ORDER BY n.attempt_count > 0, n.next_at, n.id) AS place
      FROM notification n
     WHERE n.state IN ('collecting', 'sending') AND n.next_at <= clock_timestamp()
       AND (n.claimed_until IS NULL OR n.claimed_until <= clock_timestamp())
       AND n.id <> ALL (%(busy)s::uuid[]) AND coalesce(n.tenant_id, 0) <> ALL (%(full)s::int[])
       AND n.channel_id <> ALL (%(crowded)s::bigint[])
)
SELECT n.id, coalesce(n.tenant_id, 0), t.slug, n.notice, n.group_key, n.alert_ids, n.attempt_count,
       c.id, c.name, c.kind, c."to", c.sealed, c.enabled, c.severity, c.matchers, c.updated_at > n.created_at
  FROM due d
  JOIN notification n ON n.id = d.id
  JOIN channel c ON c.id = n.channel_id
  LEFT JOIN tenant t ON t.id = n.tenant_id
 WHERE d.place <= %(each)s::int AND n.state IN ('collecting', 'sending')
   AND (n.claimed_until IS NULL OR n.claimed_until <= clock_timestamp())
 ORDER BY d.place, d.next_at
 LIMIT %(limit)s::int
   FOR UPDATE OF n SKIP LOCKED
