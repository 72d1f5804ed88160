"""What a flight needs before it starts: its context, its payloads, and the arguments or the work of its
handler."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from orchestrator import tracing
from orchestrator.domain.maps import SOURCE
from orchestrator.executor import invoke, maps, payloads, saga
from orchestrator.executor.flights import Flight
from orchestrator.executor.heartbeat import Heartbeats
from orchestrator.executor.logs import Logs
from orchestrator.executor.plans import Plan, StepPlan
from orchestrator.handlers import Pulse, StepContext, Stop
from orchestrator.store import Connection
from orchestrator.store.work import Claimed
from tenants.connections import Session

if TYPE_CHECKING:
    from orchestrator.executor.child import Child


def prepare(
    child: Child, heartbeats: Heartbeats, lines: Logs, tenant: str, step: StepPlan, claimed: Claimed
) -> Flight:
    """The flight of a claim, with its handler's context; `tenant` is the slug."""
    stop = Stop()
    part, uncertain = saga.part(claimed)
    context = StepContext(
        tenant=tenant,
        run_id=claimed.run_id,
        step=step.step.name,
        index=claimed.batch - 1 if claimed.batch > 0 else None,
        attempt=claimed.attempts + 1,
        labels=invoke.labels(claimed),
        repetition=claimed.repeats + 1,
        uncertain=uncertain,
        _part=part,
        progress=heartbeats.before(claimed),
        _session=Session(child.pools, claimed.tenant_id),
        _stop=stop,
        _pulse=Pulse(heartbeats.notice),
        _lines=lines.lines(claimed),
        traceparent=None
        if claimed.trace is None
        else tracing.for_attempt(claimed.trace, *claimed.key[1:], claimed.epoch),
    )
    flight = Flight(claimed, step, context, stop, {})
    flight.deadline = flight.started + step.timeout_s
    return flight


def load(connection: Connection, plan: Plan, flight: Flight, *, max_bytes: int) -> None:
    """Give the flight what it calls its handler with.  Raises Fault, psycopg.Error."""
    step, batch = flight.plan.step, flight.claimed.batch
    needs = step.batch_needs if batch > 0 else step.needs
    claimed = flight.claimed = payloads.whole(connection, flight.claimed, needs)
    if batch == SOURCE:
        flight.work = maps.prepare_read(plan, flight.plan, claimed, max_bytes)
    elif batch > 0:
        flight.batch = maps.open_batch(flight.plan, claimed)
        flight.args = maps.prepare(plan, flight.plan, claimed, flight.batch)
        flight.work = flight.batch.calls
    else:
        flight.args = invoke.arguments(plan, flight.plan, claimed)
        if flight.args:
            flight.evaluated = partial(invoke.arguments, plan, flight.plan, claimed)
