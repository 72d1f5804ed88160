"""The engine's SQL functions: one file each in `sql/functions`, installed after every migrate.

They are replaced as a whole, in one transaction, so that a server is never between two versions."""

from __future__ import annotations

from pathlib import Path

from django.db import connections, transaction

FOLDER = Path(__file__).parent / "sql" / "functions"

DROP = """
DO $$
DECLARE f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p
              WHERE p.pronamespace = current_schema()::regnamespace AND p.proname LIKE 'engine\\_%' LOOP
        EXECUTE 'DROP FUNCTION ' || f || ' CASCADE';
    END LOOP;
END
$$
"""

# Before anybody may call them: those with their owner's rights are for whom the fence names.
CLOSE = """
DO $$
DECLARE f regprocedure;
BEGIN
    FOR f IN SELECT p.oid::regprocedure FROM pg_proc p
              WHERE p.pronamespace = current_schema()::regnamespace AND p.proname LIKE 'engine\\_%'
                AND p.prosecdef LOOP
        EXECUTE 'REVOKE ALL ON FUNCTION ' || f || ' FROM PUBLIC';
    END LOOP;
END
$$
"""

# The first days, before anything happens in them; later ones are the clock's.
DAYS = "SELECT engine_event_partitions(1), engine_log_partitions(1)"

# The counters' rows, which everything relies on: `-1` counts claims, the others releases.
COUNTERS = "INSERT INTO server_load (slot) SELECT generate_series(-1, 15) ON CONFLICT DO NOTHING"


def sources() -> list[str]:
    """The functions' texts, in the order of their files' names."""
    return [file.read_text() for file in sorted(FOLDER.glob("*.sql"))]


def install_functions(using: str = "default", plan: object = None, **_: object) -> None:
    """Put the functions of this release into the database (a receiver of post_migrate).

    After a flush (no plan) the functions are there, the counters are not."""
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        cursor.execute("SELECT to_regclass('tenant_load') IS NOT NULL")
        if not cursor.fetchone()[0]:
            return  # migrated back to nothing
        if plan is None:
            cursor.execute(COUNTERS)
            return
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext('millrace functions'))")
        cursor.execute(DROP)
        for source in sources():
            cursor.execute(source)
        cursor.execute(CLOSE)
        cursor.execute(DAYS)
        cursor.execute(COUNTERS)
