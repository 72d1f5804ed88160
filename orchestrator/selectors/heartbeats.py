"""When steps were last heard of, and the progress that they told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orchestrator.models import Heartbeat, StepRun
from orchestrator.selectors.payloads import Payload, payload


@dataclass(frozen=True, slots=True)
class Beat:
    """A step run's last heartbeat; both None where it never sent one."""

    at: datetime | None = None
    progress: Payload | None = None


SILENT = Beat()


def last_beats(rows: Sequence[StepRun]) -> dict[tuple[int, int], Beat]:
    """By (ordinal, batch), the last heartbeats of these step runs of one run."""
    begun = [row for row in rows if row.epoch > 0]
    if not begun:
        return {}
    found = Heartbeat.objects.filter(
        tenant_id=begun[0].tenant_id,
        run_id=begun[0].run_id,
        ordinal__range=(begun[0].ordinal, begun[-1].ordinal),
    ).values_list("ordinal", "batch", "at", "progress")
    return {(ordinal, batch): Beat(at, payload(text)) for ordinal, batch, at, text in found}
