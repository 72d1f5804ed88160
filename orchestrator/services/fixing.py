"""What the doctor may mend by itself: what is safe beside a running system, and what the clock would do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator import dispatch
from orchestrator.conf import conf
from orchestrator.domain.health import Check, State
from orchestrator.selectors.diagnosis import deep
from orchestrator.services import maintenance
from orchestrator.store import Connection, clock, connect, diagnosis
from tenants import fence, services
from tenants.actors import Actor


def fix(*, found: Sequence[Check], actor: Actor) -> list[str]:
    """Mend what was found, as far as that is safe; answers what was done, in words.  Audited."""
    done = []
    for check in found:
        mend = FIXES.get(check.name)
        if check.state is State.OK or mend is None:
            continue
        with fence.as_(fence.OWNER), connect(name="doctor") as connection:
            words = mend(connection)
        if words:
            done.append(words)
            services.record(
                tenant=None,
                actor=actor,
                action="server.fixed",
                target=check.name,
                before={"seen": check.detail},
                after={"done": words},
            )
    return done


def _slots(connection: Connection) -> str:
    wrong = maintenance.reconcile(connection)
    return f"{wrong} counts of connections were mended" if wrong else ""


def _partitions(connection: Connection) -> str:
    events = clock.make_partitions(connection, days_ahead=maintenance.DAYS_AHEAD)
    lines = clock.make_log_partitions(connection, days_ahead=maintenance.DAYS_AHEAD)
    made = ((events, "events"), (lines, "log lines"))
    return " and ".join(f"{count} partitions of {rows} were made" for count, rows in made if count)


def _roles(connection: Connection) -> str:
    mended = services.repair_databases(slug=None)
    return f"roles and schemas were mended of {', '.join(mended)}" if mended else ""


def _vacuum(connection: Connection) -> str:
    rows = diagnosis.dead_rows(connection, least=deep.DEAD_ROWS, ago_s=deep.VACUUM_S)
    done = diagnosis.vacuum(connection, [one.table for one in rows])
    return f"vacuumed: {', '.join(done)}" if done else ""


def _backlog(connection: Connection) -> str:
    queues = clock.eligible(connection, lease_s=conf().lease_s)
    dispatch.wake(queues)
    return f"workers of {', '.join(queues)} were woken" if queues else ""


FIXES: dict[str, Callable[[Connection], str]] = {
    "slots": _slots,
    "partitions": _partitions,
    "roles": _roles,
    "vacuum": _vacuum,
    "backlog": _backlog,
}
