"""What the engine's statements read on a new database, where the planner knows nothing: by key, a
few rows for a step, however large the run is."""

from __future__ import annotations

import pytest
from uuid_utils.compat import uuid7

from orchestrator import store
from orchestrator.models import Run, WorkflowVersion
from orchestrator.services.workflows import publish_workflow
from orchestrator.store.submit import NewRun, submit
from tenants.actors import SYSTEM
from tenants.services import create_tenant
from tests.engine import Engine
from tests.system.shapes import Steps, call, chain, fan, random_graph

READ = """
SELECT relname, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_xact_user_tables
 WHERE relname = ANY (%s)
"""
MOST = {
    "version_step": 4,
    "step_run": 16,
    "run": 10,
    "workflow_version": 8,
    "tenant_load": 12,
    "quota": 4,
    "control": 4,
}
"""Rows read for a step, by table; a step has three parents at most."""


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("steps", "count"),
    [(chain(10), 60), (fan(600), 2), (random_graph(400), 3), ([call("a", "noop")], 400)],
    ids=["chain", "fan", "graph", "one"],
)
def test_a_step_reads_a_few_rows_by_key(steps: Steps, count: int) -> None:
    tenant = create_tenant(slug="t", max_connections=100, actor=SYSTEM)
    quiet = [{**step, "handler": "core.echo", "args": {}} for step in steps]
    publish_workflow(tenant=tenant, name="w", document={"steps": quiet}, actor=SYSTEM)
    version = WorkflowVersion.objects.get()
    runs = [NewRun(id=uuid7(), version_id=version.pk) for _ in range(count)]
    engine, connection = Engine(), store.connection()
    engine.join()
    before: dict[str, int] = dict(connection.execute(READ, (list(MOST),)).fetchall())
    submit(connection, tenant_id=tenant.pk, runs=runs, actor=None)
    rounds = 0
    while claimed := engine.claim(50):
        rounds += 1
        engine.succeed(claimed)
    after: dict[str, int] = dict(connection.execute(READ, (list(MOST),)).fetchall())
    assert set(Run.objects.values_list("state", flat=True)) == {"succeeded"}
    total = count * len(steps)
    assert rounds <= total / 10, "in batches"
    read = {table: (after[table] - before[table]) / total for table in MOST}
    assert {table: n for table, n in read.items() if n > MOST[table]} == {}, read
