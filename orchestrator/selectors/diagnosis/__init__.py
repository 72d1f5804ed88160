"""What is wrong with the running system, and what to do about it: for `manage.py doctor` and the clock."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from django.db.utils import Error as DatabaseError

from orchestrator.domain.health import Check, State
from orchestrator.embedded import paths
from orchestrator.selectors import health
from orchestrator.selectors.diagnosis import deep, upkeep
from orchestrator.selectors.health import looking, outside
from orchestrator.store import connect, gauges
from orchestrator.store.connect import Connection, for_a_moment
from tenants import fence

LIMIT_S = 3.0
"""What one statement of the deeper look may take."""
DEEP: dict[str, Callable[[Connection], Check]] = {
    "locks": deep.locks,
    "snapshots": deep.snapshots,
    "vacuum": deep.vacuum,
    "bloat": deep.bloat,
    "size": deep.size,
    "partitions": deep.partitions,
    "slots": deep.slots,
    "settings": deep.settings,
    "quotas": deep.quotas,
}
UPKEEP: dict[str, Callable[[], Check]] = {"roles": upkeep.tenant_roles, "keys": upkeep.keys}


def diagnose() -> list[Check]:
    """Look at everything, the most fundamental first; what needs the database only where it answers."""
    database = database_answers()
    if database.state is State.DOWN:
        return [database, *_outside()]
    migrations = migrated()
    if migrations.state is State.DOWN:
        return [database, migrations, *_outside()]
    return [*health.look(), migrations, *deep_look()]


def database_answers() -> Check:
    """Whether the database answers at all; if not, in a sentence, and what to do."""
    try:
        with fence.as_(fence.OWNER), connect(name="doctor") as connection:
            version = connection.info.server_version // 10_000
    except psycopg.OperationalError as error:
        words = (str(error).strip().splitlines() or ["It does not answer."])[0]
        return Check("database", State.DOWN, words, paths.unreachable_database())
    except psycopg.Error:
        return Check("database", State.OK, "It answers.")  # its roles are missing: see migrations
    if version < 15:
        said = f"It is PostgreSQL {version}."
        return Check("database", State.DOWN, said, "Use PostgreSQL 15 or newer.")
    return Check("database", State.OK, f"PostgreSQL {version} answers.")


def migrated() -> Check:
    """Whether all migrations are applied."""
    with fence.as_(fence.OWNER), for_a_moment():
        return _found("migrations", upkeep.migrations)


def deep_look() -> list[Check]:
    """The deeper look, as the tables' owner: statistics show others less."""
    with fence.as_(fence.OWNER):
        try:
            with connect(name="doctor") as connection:
                gauges.bound(connection, LIMIT_S)
                found = [
                    _found(name, lambda look=look: look(connection))  # type: ignore[misc]
                    for name, look in DEEP.items()
                ]
        except psycopg.Error as error:
            return [looking.of_database_error("locks", error)]
        with for_a_moment():
            return found + [_found(name, look) for name, look in UPKEEP.items()]


def _found(name: str, look: Callable[[], Check]) -> Check:
    """What a look found; where it failed, that."""
    try:
        return look()
    except psycopg.errors.QueryCanceled:
        said = f"Looking took over {LIMIT_S:.0f} s."
        return Check(name, State.DEGRADED, said, "Look at the load of the database's machine.")
    except (psycopg.Error, DatabaseError) as error:
        words = (str(error).strip().splitlines() or [type(error).__name__])[0]
        said = f"It could not be looked at: {words}"
        return Check(name, State.DEGRADED, said, "Mend what the database says.")


def _outside() -> list[Check]:
    mend = "Start the system with `make up`." if paths.uses_embedded_broker() else ""
    found = []
    for name, look in (
        ("broker", outside.broker),
        ("channel_layer", outside.channel_layer),
        ("disk", outside.disk),
    ):
        try:
            found.append(look())
        except Exception as error:  # whatever a client library raises is the finding
            said = f"It does not answer ({str(error).strip() or type(error).__name__})."[:300]
            found.append(Check(name, State.DOWN, said, mend or looking.MEND[name]))
    return found
