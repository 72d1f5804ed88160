"""What a flight needs before it starts: its payloads, and the arguments or the work of its handler."""

from __future__ import annotations

from orchestrator.domain.maps import SOURCE
from orchestrator.executor import invoke, maps, payloads
from orchestrator.executor.flights import Flight
from orchestrator.executor.plans import Plan
from orchestrator.store import Connection


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
