"""What workers do to the database: claim, complete, decide, unhold."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

import psycopg
from psycopg.rows import args_row

from orchestrator.domain.masking import NO_MASK, Mask, Secrets
from orchestrator.domain.undo import COMPENSATION
from orchestrator.store.connect import Connection
from orchestrator.store.settling import SETTLE, Settled, settled_arrays

CLAIM = """
SELECT * FROM engine_claim(%s::int, %s::text[], %s::int[], %s::float8[], %s::int, %s::int, %s::bool, %s::bigint)
"""
COMPLETE = """
SELECT refused FROM engine_complete(%s::int, %s::int[], %s::uuid[], %s::int[], %s::int[], %s::int[],
    %s::text[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::float8[], %s::float8[], %s::bool[], %s::bool[], %s::bool[], %s::float8[])
"""
DECIDE = """
SELECT engine_decide(%s::int[], %s::uuid[], %s::int[], %s::int[], %s::int[], %s::text[], %s::text[], %s::text[])
"""
UNHOLD = "SELECT engine_unhold(%s::int, %s::int[], %s::uuid[], %s::int[], %s::int[])"
INPUTS = """
SELECT r.input, n.refs, n.states, n.outputs
  FROM run r
  LEFT JOIN LATERAL (
      -- as engine_claim gives them: of a compensation's own step its attempt and error
      SELECT array_agg(p.ordinal) AS refs,
             array_agg(CASE WHEN p.ordinal = %(compensated)s THEN p.attempts::text ELSE p.state END) AS states,
             array_agg(CASE WHEN p.ordinal = %(compensated)s THEN p.error ELSE p.output END) AS outputs
        FROM step_run p
       WHERE p.tenant_id = r.tenant_id AND p.run_id = r.id AND p.batch = 0
         AND p.ordinal = ANY (%(needs)s::int[])) n ON true
 WHERE r.tenant_id = %(tenant_id)s::int AND r.id = %(run_id)s::uuid
"""


class Claimed(NamedTuple):
    """A step to run (`kind` step), or something to decide (condition, output; of a step that calls no
    handler also again, ended), as claimed.

    `refs`, `states`, `outputs` (JSON texts) belong together: the steps its expressions refer to;
    `lazy`: too large for the claim, to be fetched with `fetch_inputs`."""

    kind: str
    tenant_id: int
    run_id: UUID
    ordinal: int
    batch: int
    version_id: int
    epoch: int
    attempts: int
    losses: int
    suspect: bool
    args: str | None
    closing: str | None
    labels: str
    input: str | None
    refs: list[int] | None
    states: list[str] | None
    outputs: list[str | None] | None
    lazy: bool
    repeats: int = 0
    """How often it has succeeded already without its `repeat.until` holding."""
    trace: str | None = None
    """Whose trace its run belongs to (traceparent); None: it is not traced."""
    secrets: Secrets | None = None
    """What its expressions may know, put there by the process that runs it; None: they name none."""

    @property
    def mask(self) -> Mask:
        """What hides its secrets."""
        return NO_MASK if self.secrets is None else self.secrets.mask

    @property
    def key(self) -> tuple[int, UUID, int, int]:
        """What names the step run in every statement."""
        return (self.tenant_id, self.run_id, self.ordinal, self.batch)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a child has room for.  `costs` are mean seconds by handler; `alone`: one step that was lost
    before may have a process of its own."""

    queues: list[str]
    handlers: list[int]
    costs: list[float]
    want: int
    want_cpu: int
    alone: bool
    outputs_bytes: int


@dataclass(slots=True)
class Completion:
    """What became of one attempt; see `engine_complete` for the words of `outcome`.

    `ended`: when its code ended (`time.monotonic()`); None where that is not known."""

    claimed: Claimed
    outcome: str
    seconds: float
    output: str | None = None
    error: str | None = None
    reason: str | None = None
    args: str | None = None
    delay_s: float | None = None
    counts: bool = True
    held: bool = False
    handled: bool = False
    ended: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What Python decided of control work; see `engine_decide`."""

    claimed: Claimed
    verdict: str
    value: str | None = None
    fallback: str | None = None


PIPELINED_CHARS = 16_000
"""Above so much payload statements go one by one: libpq's pipeline stalls when its buffers fill."""


def exchange(
    connection: Connection,
    worker_id: int,
    completions: Sequence[Completion],
    verdicts: Sequence[Verdict | Settled],
    wanted: Wanted | None,
) -> tuple[list[int], list[Claimed]]:
    """Write what ended and take what fits, as up to four transactions in one round trip.

    Answers the indexes of refused completions, and what was claimed."""
    decided = [one for one in verdicts if isinstance(one, Verdict)]
    settled = [one for one in verdicts if isinstance(one, Settled)]
    payload = sum(len(c.output or "") + len(c.error or "") + len(c.args or "") for c in completions)
    payload += sum(len(one.value or "") for one in verdicts)
    payload += sum(len(one.child.input) for one in settled if one.child is not None)
    if payload > PIPELINED_CHARS:
        late = _refused(connection, worker_id, completions)
        if decided:
            connection.execute(DECIDE, _verdict_arrays(decided))
        if settled:
            connection.execute(SETTLE, settled_arrays(settled))
        return late, _claim(connection, worker_id, wanted).fetchall() if wanted else []

    refused: psycopg.Cursor[tuple[int]] | None = None
    claimed: psycopg.Cursor[Claimed] | None = None
    with connection.pipeline() as pipeline:
        if completions:
            refused = connection.execute(COMPLETE, _completion_arrays(worker_id, completions))
            _commit(pipeline)
        if decided:
            connection.execute(DECIDE, _verdict_arrays(decided))
            _commit(pipeline)
        if settled:
            connection.execute(SETTLE, settled_arrays(settled))
            _commit(pipeline)
        if wanted is not None:
            claimed = _claim(connection, worker_id, wanted)
    late = [index - 1 for (index,) in refused.fetchall()] if refused is not None else []
    return late, claimed.fetchall() if claimed is not None else []


def _commit(pipeline: psycopg.Pipeline) -> None:
    """End a transaction of the pipeline; its answer is read with the others.

    (psycopg's own `sync()` waits for it: a round trip more, as tests/store/test_round_trips.py sees.)"""
    pipeline._enqueue_sync()


def _refused(
    connection: Connection, worker_id: int, completions: Sequence[Completion]
) -> list[int]:
    if not completions:
        return []
    rows = connection.execute(COMPLETE, _completion_arrays(worker_id, completions)).fetchall()
    return [index - 1 for (index,) in rows]


def _claim(connection: Connection, worker_id: int, wanted: Wanted) -> psycopg.Cursor[Claimed]:
    claimed = connection.cursor(row_factory=args_row(Claimed), binary=True)
    return claimed.execute(
        CLAIM,
        (
            worker_id,
            wanted.queues,
            wanted.handlers,
            wanted.costs,
            wanted.want,
            wanted.want_cpu,
            wanted.alone,
            wanted.outputs_bytes,
        ),
    )


def _completion_arrays(worker_id: int, completions: Sequence[Completion]) -> tuple[object, ...]:
    rows = [c.claimed for c in completions]
    now = time.monotonic()
    return (
        worker_id,
        [r.tenant_id for r in rows],
        [r.run_id for r in rows],
        [r.ordinal for r in rows],
        [r.batch for r in rows],
        [r.epoch for r in rows],
        [c.outcome for c in completions],
        [c.output for c in completions],
        [c.error for c in completions],
        [c.reason for c in completions],
        [c.args for c in completions],
        [c.delay_s for c in completions],
        [c.seconds for c in completions],
        [c.counts for c in completions],
        [c.held for c in completions],
        [c.handled for c in completions],
        [None if c.ended is None else now - c.ended for c in completions],
    )


def _verdict_arrays(verdicts: Sequence[Verdict]) -> tuple[object, ...]:
    rows = [v.claimed for v in verdicts]
    return (
        [r.tenant_id for r in rows],
        [r.run_id for r in rows],
        [r.ordinal for r in rows],
        [r.batch for r in rows],
        [r.epoch for r in rows],
        [v.verdict for v in verdicts],
        [v.value for v in verdicts],
        [v.fallback for v in verdicts],
    )


def unhold(connection: Connection, worker_id: int, ended: Sequence[Claimed]) -> None:
    """Stuck code has ended: give back what it held."""
    connection.execute(
        UNHOLD,
        (
            worker_id,
            [c.tenant_id for c in ended],
            [c.run_id for c in ended],
            [c.ordinal for c in ended],
            [c.batch for c in ended],
        ),
    )


def fetch_inputs(connection: Connection, claimed: Claimed, needs: Sequence[int]) -> Claimed:
    """The claim with the input and outputs that were too large to come with it."""
    row = connection.execute(
        INPUTS,
        {
            "needs": list(needs),
            "compensated": claimed.ordinal if claimed.batch == COMPENSATION else -1,
            "tenant_id": claimed.tenant_id,
            "run_id": claimed.run_id,
        },
    ).fetchone()
    if row is None:
        return claimed
    return claimed._replace(input=row[0], refs=row[1], states=row[2], outputs=row[3], lazy=False)
