"""The deeper look: what makes a database slow or unsafe, and what makes the engine's counts wrong."""

from __future__ import annotations

import shutil

from orchestrator.conf import conf
from orchestrator.domain.health import Check, State
from orchestrator.embedded import paths
from orchestrator.store import diagnosis
from orchestrator.store.connect import Connection
from orchestrator.store.diagnosis import LockWait, Snapshot

LOCK_S = 5.0
LONG_LOCK_S = 60.0
OLD_S = 300.0
OLD_SLOT = 1_000_000
"""Transactions that a replication slot may be behind."""
DEAD_ROWS = 10_000
VACUUM_S = 600.0
AIR_BYTES = 64 * 2**20
AIR_SHARE = 0.5
FULL_IN_DAYS = 3.0
FULL_SHARE = 0.9
OLDEST_VERSION = 150_000
_MIB = 2**20


def locks(connection: Connection) -> Check:
    """Who waits for whom."""
    found = [one for one in diagnosis.lock_waits(connection) if one.waits_s > LOCK_S]
    if not found:
        return Check("locks", State.OK, f"Nobody waits for a lock for over {LOCK_S:.0f} s.")
    state = State.DOWN if found[0].waits_s > LONG_LOCK_S else State.DEGRADED
    said = "; ".join(_waiting(one) for one in found[:3])
    mend = (
        f"If process {found[0].holder} should not hold it, end it:"
        f" SELECT pg_terminate_backend({found[0].holder});"
    )
    return Check("locks", state, f"{len(found)} wait: {said}."[:900], mend)


def _waiting(one: LockWait) -> str:
    return (
        f"{one.program} ({one.pid}) for {one.waits_s:.0f} s for {one.holder_program} ({one.holder},"
        f" {one.holder_state}, open for {one.holder_open_s:.0f} s: {one.holder_statement[:80]})"
    )


def snapshots(connection: Connection) -> Check:
    """What keeps old rows from being removed."""
    found = diagnosis.snapshots(connection)
    old = [one for one in found if _is_old(one)]
    if not old:
        ages = [one.age_s for one in found if one.age_s is not None]
        detail = f"The oldest is {max(ages, default=0.0):.0f} s old."
        return Check("snapshots", State.OK, detail)
    said = "; ".join(_holding(one) for one in old[:3])
    mend = " ".join(dict.fromkeys(_let_go(one) for one in old[:3]))
    return Check("snapshots", State.DEGRADED, f"Old rows are kept for {said}."[:900], mend)


def _is_old(one: Snapshot) -> bool:
    if one.kind == "slot":
        return (one.transactions or 0) > OLD_SLOT
    return one.age_s is not None and one.age_s > OLD_S


def _holding(one: Snapshot) -> str:
    since = "" if one.age_s is None else f", open for {one.age_s:.0f} s"
    kinds = {"transaction": "process", "slot": "the replication slot", "prepared": "the prepared transaction"}  # fmt: skip
    return f"{kinds[one.kind]} {one.name} ({one.who}{since}, {one.transactions or 0} transactions behind)"


def _let_go(one: Snapshot) -> str:
    if one.kind == "slot":
        return f"Let its reader catch up, or SELECT pg_drop_replication_slot('{one.name}');"
    if one.kind == "prepared":
        return f"Decide it: COMMIT PREPARED or ROLLBACK PREPARED '{one.name}';"
    return f"End what forgot its transaction: SELECT pg_terminate_backend({one.name});"


def vacuum(connection: Connection) -> Check:
    """Whether autovacuum keeps up."""
    found = diagnosis.dead_rows(connection, least=DEAD_ROWS, ago_s=VACUUM_S)
    if not found:
        return Check("vacuum", State.OK, "No table has more old rows than autovacuum lets be.")
    said = ", ".join(
        f"{one.table} {one.dead} (of {one.allowed} allowed; {_vacuumed(one.vacuumed_s)}"
        f"{'; autovacuum is off for it' if one.is_off else ''})"
        for one in found[:5]
    )
    mend = (
        "See `snapshots` first: what an old one keeps cannot be removed. Then `manage.py doctor --fix`"
        " vacuums these tables; if it comes back, raise autovacuum_vacuum_cost_limit."
    )
    return Check("vacuum", State.DEGRADED, f"Old rows pile up: {said}."[:900], mend)


def _vacuumed(ago_s: float | None) -> str:
    return "never vacuumed" if ago_s is None else f"vacuumed {ago_s / 60:.0f} min ago"


def bloat(connection: Connection) -> Check:
    """Tables and indexes that are mostly air."""
    found = diagnosis.bloat(connection, least=AIR_BYTES, share=AIR_SHARE)
    if not found:
        return Check("bloat", State.OK, "No table and no index is mostly air (an estimate).")
    said = ", ".join(
        f"{one.kind} {one.name} {one.bytes / _MIB:.0f} MiB for {one.needed / _MIB:.0f}"
        for one in found[:5]
    )
    mend = " ".join(
        f"REINDEX INDEX CONCURRENTLY {one.name};" if one.kind == "index" else f"VACUUM FULL {one.name};"
        for one in found[:3]
    )  # fmt: skip
    lock = " VACUUM FULL locks its table: in a quiet hour." if "FULL" in mend else ""
    return Check("bloat", State.DEGRADED, f"Mostly air (an estimate): {said}.", mend + lock)


def size(connection: Connection) -> Check:
    """How large the database is, how it grows, and when the disk is full if that goes on."""
    seen = diagnosis.size(connection)
    named = ", ".join(f"{name} {bytes_ / _MIB:.1f} MiB" for name, bytes_ in seen.largest)
    detail = f"{seen.bytes / _MIB:.1f} MiB; largest: {named}"
    if seen.before is None or seen.before_s is None or seen.before_s < 3600:
        return Check("size", State.OK, f"{detail}.")
    growth = (seen.bytes - seen.before) / seen.before_s * 86_400
    detail += f"; grows by {growth / _MIB:.0f} MiB a day."
    if paths.uses_embedded_database() and growth > 0:
        days = shutil.disk_usage(paths.postgres_home().parent).free / growth
        if days < FULL_IN_DAYS:
            mend = "Free space, move DATA_DIR, or keep runs and events for fewer days."
            said = f"{detail} The disk is full in {days:.1f} days if it goes on so."
            return Check("size", State.DEGRADED, said, mend)
    return Check("size", State.OK, detail)


def partitions(connection: Connection) -> Check:
    """Whether events and handlers' lines have their daily partitions, and old ones go."""
    kept = (
        ("event", "events", conf().event_days, "ORCHESTRATOR_EVENT_DAYS"),
        ("attempt_log", "log lines", conf().step_log_days, "ORCHESTRATOR_STEP_LOG_DAYS"),
    )
    for table, rows, days, setting in kept:
        seen = diagnosis.partitions(connection, table=table, days=days)
        if seen.missing:
            said = (
                f"No partition of {rows} for {', '.join(seen.missing)}; {seen.stray} stand beside."
            )
            mend = "`manage.py doctor --fix` makes them; the clock's duty retain should: it tries again until no long transaction reads the table."
            return Check("partitions", State.DEGRADED, said, mend)
        if seen.overdue:
            said = f"{seen.overdue} is older than {setting}."
            mend = "The clock's duty retain should drop it: it tries again until no long transaction reads the table."
            return Check("partitions", State.DEGRADED, said, mend)
    return Check("partitions", State.OK, "Today's and tomorrow's are there, none is overdue.")


def slots(connection: Connection) -> Check:
    """Whether connections that are counted are held."""
    found = diagnosis.leaks(connection)
    mended = diagnosis.repaired(connection)
    history = f"The reconciler has mended {mended} counts so far" + (
        "." if not mended else " (0 is expected)."
    )
    if not found:
        return Check("slots", State.OK, f"Every connection that is counted is held. {history}")
    said = "; ".join(
        f"{one.slug or 'the server'} counts {one.counted} and holds {one.held}" for one in found[:5]
    )
    mend = "`manage.py doctor --fix` mends it now, the clock's duty reconcile within a minute. Report it."
    return Check("slots", State.DEGRADED, f"{said[0].upper()}{said[1:]}. {history}", mend)


def settings(connection: Connection) -> Check:
    """Settings of PostgreSQL with which data is lost or tables rot."""
    seen = diagnosis.settings(connection)
    wrong = [
        f"{name} is {seen[name]}"
        for name in (
            "fsync",
            "full_page_writes",
            "synchronous_commit",
            "autovacuum",
            "track_counts",
        )
        if seen[name] == "off"
    ]
    if int(seen["server_version_num"]) < OLDEST_VERSION:
        wrong.append("it is older than PostgreSQL 15")
    if wrong:
        mend = "Set them on in postgresql.conf: accepted runs may be lost, or tables rot, without."
        return Check("settings", State.DEGRADED, f"{'; '.join(wrong)}.", mend)
    return Check("settings", State.OK, "What is accepted is on the disk; old rows are removed.")


def quotas(connection: Connection) -> Check:
    """Limits that are nearly used up: tenants' affair, so the server stays well."""
    found = diagnosis.full_quotas(connection, share=FULL_SHARE)
    if not found:
        return Check("quotas", State.OK, f"None is used to {FULL_SHARE:.0%}.")
    said = ", ".join(f"{one.slug} {one.name} {one.use:,} of {one.most:,}" for one in found[:10])
    mend = "Tell the tenant, or raise it on /staff/tenants/."
    return Check("quotas", State.OK, f"Nearly used up: {said}.", mend)
