"""Undoing: the order that the statements keep is the domain's, for every graph and every order of ends."""

from __future__ import annotations

import json
import random
from itertools import product

import pytest

from orchestrator import store
from orchestrator.domain.statuses import StepState
from orchestrator.domain.undo import UNDO, is_undoable, may_undo
from orchestrator.models import Event
from orchestrator.store.work import Claimed
from tenants.models import Tenant
from tests.engine import Engine
from tests.store.test_undo import UNDO_CALL, consistent, start, step, tenant

__all__ = ["tenant"]


def test_what_is_undone_is_what_the_model_says(db: None) -> None:
    codes = (
        None,
        "error",
        "timeout",
        "heartbeat_timeout",
        "lost",
        "cancelled",
        "aborted",
        "upstream",
    )
    cases = list(product(StepState, (True, False), (True, False), (True, False), codes))
    rows = store.connection().execute(
        "SELECT engine_undoable(c.state, c.handled, c.started, c.suspect, c.error)"
        " FROM unnest(%s::text[], %s::bool[], %s::bool[], %s::bool[], %s::text[])"
        " WITH ORDINALITY AS c (state, handled, started, suspect, error, place) ORDER BY place",
        [
            [str(c[0]) for c in cases],
            [c[1] for c in cases],
            [c[2] for c in cases],
            [c[3] for c in cases],
            [None if c[4] is None else json.dumps({"code": c[4]}) for c in cases],
        ],
    )
    said = [bool(row[0]) for row in rows.fetchall()]
    assert said == [
        is_undoable(state, handled=handled, started=started, suspect=suspect, code=code)
        for state, handled, started, suspect, code in cases
    ]


@pytest.mark.parametrize("seed", range(25))
def test_the_order_is_the_model_s_on_random_graphs(tenant: Tenant, seed: int) -> None:
    rng = random.Random(seed)
    size = rng.randrange(2, 14)
    parents = {
        n: tuple(sorted(rng.sample(range(n), min(n, rng.randrange(4))))) for n in range(size)
    }
    with_undo = {n for n in parents if rng.random() < 0.6}
    failing = {n for n in parents if rng.random() < 0.2} | {size - 1}
    run = start(
        tenant,
        [
            step(f"s{n}", *(f"s{p}" for p in above), undo=UNDO_CALL if n in with_undo else None)
            for n, above in parents.items()
        ],
    )
    engine = Engine()
    engine.join()
    undoing: dict[int, Claimed] = {}
    succeeded: set[int] = set()
    ended: set[int] = set()
    running: list[Claimed] = []
    while True:
        claims = engine.claim()
        running += [c for c in claims if c.batch == 0]
        undoing |= {c.ordinal: c for c in claims if c.batch == UNDO}
        if undoing or ended:
            assert not running, "nothing of the run runs any more"
            undoable = with_undo & succeeded
            assert set(undoing) == may_undo(parents, undoable, ended)
        if running:
            claim = running.pop(rng.randrange(len(running)))
            if claim.ordinal in failing:
                engine.fail(claim)
            else:
                succeeded.add(claim.ordinal)
                engine.succeed([claim], claim.ordinal)
        elif undoing:
            run.refresh_from_db()
            assert (run.state, run.undo_state) == ("running", "running")
            claim = undoing.pop(rng.choice(sorted(undoing)))
            ended.add(claim.ordinal)
            if rng.random() < 0.3:
                engine.fail(claim)
            else:
                engine.succeed([claim])
        else:
            break
    run.refresh_from_db()
    assert run.state == "failed"
    assert ended == with_undo & succeeded
    assert (run.undo_state is None) == (not ended)
    assert run.undo_open == 0
    assert Event.objects.filter(run_id=run.pk, type="run.failed").count() == 1
    consistent(tenant)
