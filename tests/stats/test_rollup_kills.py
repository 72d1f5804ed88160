"""The process that counts is killed, wherever it is: what was counted equals the events."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import psycopg
import pytest
from django.db import connection
from django.db.models import Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from orchestrator import store
from orchestrator.models import Event, Rollup, RollupCursor
from orchestrator.models.metrics import COUNTS, HISTOGRAM_BOUNDS_S, MEASURES, WIDTHS
from orchestrator.selectors.sketches import Sketch
from orchestrator.services import rollups
from tests.stats.conftest import Shop

ROOT = Path(__file__).parents[2]
POINTS = (
    "before read", "after read", "after sketches", "before write", "after write", "before move",
    "after move", "committed",
)  # fmt: skip


class Counting:
    """A process that makes others that count, each up to a point at which it is killed."""

    def __init__(self) -> None:
        params = connection.get_connection_params()
        known = ("dbname", "host", "port", "user", "password", "passfile")
        conninfo = make_conninfo(**{key: params[key] for key in known if params.get(key)})
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.stats.rolling", conninfo],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, point: str) -> None:
        """Count up to this point, and no further."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{point}\n")
        stdin.flush()
        told = stdout.readline().split(maxsplit=1)
        if told[0] != "ended":
            os.kill(int(told[0]), signal.SIGKILL)
            assert stdout.readline() == "ended\n"
        gone()


def gone() -> None:
    """Until the server has noticed, and no transaction of the killed process holds its locks."""
    until = time.monotonic() + 60
    while (
        store.connection()
        .execute(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND xact_start IS NOT NULL AND application_name = ''"
        )
        .fetchone()
    ):
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def counting(shop: Shop) -> Iterator[Counting]:
    made = Counting()
    yield made
    assert made.process.stdin is not None
    made.process.stdin.close()
    assert made.process.wait(60) == 0
    assert made.process.stdout is not None
    made.process.stdout.close()


def happen(shop: Shop, at: datetime, rng: Random, count: int) -> None:
    """Events of every kind, of the past two hours, in no order of time."""
    kinds = (
        "run.queued", "run.succeeded", "run.failed", "step.running", "step.succeeded", "step.retrying",
        "step.lost", "step.skipped", "step.waiting",
    )  # fmt: skip
    shop.tell_all(
        [
            (at - timedelta(seconds=rng.randrange(7200)), rng.choice(kinds), rng.expovariate(1))
            for _ in range(count)
        ],
        shop.run_row(at),
    )


def check(shop: Shop) -> None:
    """Counts of every width, of the tenant and of its workflow, are those of the events."""
    tenant = shop.tenant.pk
    types = Counter(Event.objects.filter(tenant_id=tenant).values_list("type", flat=True))
    expected = dict.fromkeys(COUNTS, 0) | {
        column: types[kind] for kind, column in rollups.COUNT_OF.items()
    }
    expected["events"] = sum(types.values())
    ran = Event.objects.filter(tenant_id=tenant, type__startswith="step.")
    expected["worker_s"] = ran.exclude(type="step.running").aggregate(s=Sum("value_s"))["s"] or 0
    measured = Counter[str]()
    for kind, measure in rollups.MEASURE_OF.items():
        measured[measure] += types[kind]
    for workflow in (0, shop.workflow.pk):
        for width in WIDTHS:
            rows = list(
                Rollup.objects.filter(tenant_id=tenant, workflow_id=workflow, width_s=width)
            )
            for name in COUNTS:
                assert sum(getattr(row, name) for row in rows) == pytest.approx(expected[name])
            for measure in MEASURES:
                kept = [getattr(row, f"{measure}_sketch") for row in rows]
                sketch = Sketch.read([one for one in kept if one])
                assert sketch.count == measured[measure]
    cursor = RollupCursor.objects.get(tenant_id=tenant)
    for name in COUNTS:
        assert getattr(cursor, name) == pytest.approx(expected[name])
    for measure in MEASURES:
        histogram = getattr(cursor, f"{measure}_histogram")
        assert len(histogram) == len(HISTOGRAM_BOUNDS_S) + 1
        assert histogram == sorted(histogram)
        assert histogram[-1] == measured[measure]


def test_killed_anywhere_in_its_transaction(shop: Shop, counting: Counting, noon: datetime) -> None:
    rng = Random(7)
    happen(shop, noon, rng, 40)
    for point in POINTS:
        counting.run(point)
        if point == "committed":
            assert RollupCursor.objects.get(tenant_id=shop.tenant.pk).seq > 0
        counting.run("none")
        happen(shop, noon, rng, 5)
    counting.run("before read")
    while rollups.roll(5):
        pass
    check(shop)


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.integers(0, 2**32),
    st.lists(st.tuples(st.integers(0, 8), st.integers(1, 40), st.booleans()), max_size=12),
)
def test_in_bites_of_any_size_with_any_failures(
    shop: Shop, noon: datetime, seed: int, steps: list[tuple[int, int, bool]]
) -> None:
    """It fails or not, is late or not, and events go on happening: each counts once, in its place."""
    rng = Random(seed)
    happen(shop, noon, rng, 3)
    for events, limit, fails in steps:
        happen(shop, noon, rng, 4 * events)
        if fails:
            with (
                store.connect(name="cut") as doomed,
                suppress(psycopg.errors.DivisionByZero),
                doomed.transaction(),
            ):
                rollups.roll(limit, connection=doomed)
                doomed.execute("SELECT 1 / 0")
        else:
            rollups.roll(limit)
    while rollups.roll(rng.randint(1, 50)):
        pass
    check(shop)
