"""What Python decided of steps that call no handler: they wait, or what they waited for ends them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from uuid import UUID

if TYPE_CHECKING:
    from orchestrator.store.work import Claimed

SETTLE = """
SELECT engine_settle_waits(%s::int[], %s::uuid[], %s::int[], %s::int[], %s::int[], %s::text[], %s::text[], %s::text[],
    %s::text[], %s::text[], %s::float8[], %s::text[], %s::bool[], %s::bigint[], %s::text[], %s::text[])
"""
Reason = Literal["sleep", "signal", "child", "retry", "repeat"]


@dataclass(frozen=True, slots=True)
class NewChild:
    """A child run to be made.  `input` is JSON text; `concurrency` its workflow's evaluated key."""

    id: UUID
    version_id: int
    input: str
    concurrency: str | None


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a step that calls no handler; see `engine_settle_waits` for the words.

    `value` is the output's or the error's JSON, `fallback` the value in a failure's place, `key` the
    name of the signal that is waited for."""

    claimed: Claimed
    verdict: Literal["waiting", "succeeded", "failed", "cancelled"]
    value: str | None = None
    fallback: str | None = None
    reason: Reason | None = None
    key: str | None = None
    delay_s: float | None = None
    args: str | None = None
    counts: bool = False
    child: NewChild | None = None


def settled_arrays(settled: Sequence[Settled]) -> tuple[object, ...]:
    """The parameters of SETTLE."""
    rows = [one.claimed for one in settled]
    children = [one.child for one in settled]
    keys = [one.key if one.child is None else str(one.child.id) for one in settled]
    return (
        [row.tenant_id for row in rows],
        [row.run_id for row in rows],
        [row.ordinal for row in rows],
        [row.batch for row in rows],
        [row.epoch for row in rows],
        [one.verdict for one in settled],
        [one.value for one in settled],
        [one.fallback for one in settled],
        [one.reason for one in settled],
        keys,
        [one.delay_s for one in settled],
        [one.args for one in settled],
        [one.counts for one in settled],
        [None if child is None else child.version_id for child in children],
        [None if child is None else child.input for child in children],
        [None if child is None else child.concurrency for child in children],
    )
