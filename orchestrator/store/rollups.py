"""Counting the events: from the outbox into buckets, each event exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from orchestrator.models.metrics import COUNTS, HISTOGRAM_BOUNDS_S, MEASURES
from orchestrator.store.connect import Connection

_FOLDER = Path(__file__).parent / "sql"
_NAMES = ("cursors", "labels", "lock", "read", "sketches", "write", "move", "waits", "prune")
_CURSORS, _LABELS, _LOCK, _READ, _SKETCHES, _WRITE, _MOVE, _WAITS, _PRUNE = (
    (_FOLDER / f"rollup_{name}.sql").read_bytes() for name in _NAMES
)
_NESTED = (
    "SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),"
    " set_config('enable_mergejoin', 'off', true)"
)
SKETCHES = tuple(f"{measure}_sketch" for measure in MEASURES)


class Key(NamedTuple):
    """A bucket: workflow 0 is the whole tenant; `at` is its beginning in unix seconds."""

    tenant_id: int
    workflow_id: int
    width_s: int
    at: int


class Stretch(NamedTuple):
    """A tenant's events that are not counted yet: those after `after`, up to `upto`.

    `own`: it is not counted to the others: metrics show the tenant under a label of its own, or (the
    server's own) not at all."""

    tenant_id: int
    after: int
    upto: int
    own: bool = True


class Counted(NamedTuple):
    """Events of one workflow, 10 s and type; `seconds` only where a sketch is made of them.

    `late`: these ended because they took too long.  `lags`: of steps' ends, seconds from the end of
    their code to the readiness of what waited for them."""

    tenant_id: int
    workflow_id: int
    at: int
    type: str
    late: bool
    number: int
    sum_s: float
    seconds: list[float] | None
    lags: list[float] | None


@dataclass(slots=True)
class Sums:
    """What is added to a bucket: counts by column name, and sketches' bytes by column name; to the
    totals: counts, and by measure how many values were at most each bound (and all of them), and
    their sum."""

    # worker_s is never an int: one statement's array cannot hold both
    counts: dict[str, float] = field(
        default_factory=lambda: {**dict.fromkeys(COUNTS, 0), "worker_s": 0.0}
    )
    sketches: dict[str, bytes] = field(default_factory=dict)
    histograms: dict[str, list[int]] = field(
        default_factory=lambda: {name: [0] * (len(HISTOGRAM_BOUNDS_S) + 1) for name in MEASURES}
    )
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(MEASURES, 0.0))


OTHERS = Stretch(0, 0, 0)
"""What tenants without a label of their own did together."""


def lock_behind(connection: Connection, labels: int) -> list[Stretch]:
    """Lock the cursors of tenants with events that are not counted; inside a transaction.

    `labels`: how many tenants metrics may name."""
    _cursor(connection).execute(_CURSORS, {"labels": labels})
    return [Stretch(*row) for row in _cursor(connection).execute(_LOCK).fetchall()]


def read(connection: Connection, stretches: Sequence[Stretch]) -> list[Counted]:
    """Count the events of these stretches."""
    cursor = _cursor(connection)
    cursor.execute(_NESTED)
    params = {
        "tenants": [stretch.tenant_id for stretch in stretches],
        "after": [stretch.after for stretch in stretches],
        "upto": [stretch.upto for stretch in stretches],
    }
    return [Counted(*row) for row in cursor.execute(_READ, params, binary=True).fetchall()]


def sketches(connection: Connection, keys: Iterable[Key]) -> dict[Key, dict[str, bytes]]:
    """The sketches that these buckets have already."""
    cursor = _cursor(connection)
    cursor.execute(_SKETCHES, _columns(list(keys)), binary=True)
    return {
        Key(*row[:4]): {
            name: bytes(value) for name, value in zip(SKETCHES, row[4:], strict=True) if value
        }
        for row in cursor.fetchall()
    }


def write(connection: Connection, buckets: Mapping[Key, Sums]) -> None:
    """Add counts to buckets and replace their sketches, making those that are not there."""
    keys = sorted(buckets)
    sums = [buckets[key] for key in keys]
    params = _columns(keys) | _counts(sums)
    for name in SKETCHES:
        params[name] = [each.sketches.get(name) for each in sums]
    _cursor(connection).execute(_WRITE, params)


def move(connection: Connection, totals: Mapping[Stretch, Sums]) -> None:
    """Move the cursors to the stretches' ends and add to the tenants' totals."""
    params = _counts(list(totals.values())) | {
        "tenants": [stretch.tenant_id for stretch in totals],
        "seqs": [stretch.upto for stretch in totals],
    }
    for name in MEASURES:
        params[f"{name}_sum_s"] = [sums.seconds[name] for sums in totals.values()]
        params[f"{name}_histogram"] = [
            f"{{{','.join(map(str, sums.histograms[name]))}}}" for sums in totals.values()
        ]
    _cursor(connection).execute(_MOVE, params)


def label(connection: Connection, labels: int) -> int:
    """Give the `labels` busiest tenants labels of their own; answers how many got or lost one."""
    return _cursor(connection).execute(_LABELS, {"labels": labels}).rowcount


def waits(connection: Connection) -> None:
    """Add what steps waited for their tenants' connections to the totals."""
    connection.execute(_WAITS)


def prune(connection: Connection, *, width_s: int, age_s: float, limit: int) -> int:
    """Drop at most `limit` buckets of a width that began over `age_s` ago; answers how many."""
    params = {"width": width_s, "age": age_s, "limit": limit}
    return _cursor(connection).execute(_PRUNE, params).rowcount


def _cursor(connection: Connection) -> psycopg.Cursor[tuple[Any, ...]]:
    """A cursor that binds on the server (Django's connections bind on the client)."""
    return psycopg.Cursor(connection)


def _columns(keys: Sequence[Key]) -> dict[str, list[Any]]:
    return {
        "tenants": [key.tenant_id for key in keys],
        "workflows": [key.workflow_id for key in keys],
        "widths": [key.width_s for key in keys],
        "ats": [key.at for key in keys],
    }


def _counts(sums: Sequence[Sums]) -> dict[str, list[Any]]:
    return {name: [each.counts[name] for each in sums] for name in COUNTS}
