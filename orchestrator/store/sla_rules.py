"""Service levels as rules: what is counted for each, what it came to, and the enabled ones."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from orchestrator.domain.observations import Severity
from orchestrator.domain.slo import Burn, Kind, Measure, NoData, Rule, Scope
from orchestrator.store.connect import Connection

_ENDS = ["run.succeeded", "run.failed"]
TYPES: Mapping[Measure, list[str]] = {
    Measure.QUEUE: ["step.running"],
    Measure.RUN: _ENDS,
    Measure.OUTCOME: _ENDS,
    Measure.FRESH: _ENDS,
    Measure.RATE: ["run.succeeded"],
    Measure.READY: ["step.succeeded", "step.failed", "step.skipped"],
}
"""The events that are counted."""


@dataclass(frozen=True, slots=True)
class Counted:
    """A rule as the statements read it."""

    id: int
    tenant_id: int
    rule: Rule
    scope: Scope

    @property
    def from_created(self) -> bool:
        """Whether its runs' time begins with their acceptance, not with their start."""
        return self.rule.nature.measure is Measure.FRESH

    def facts(self) -> dict[str, object]:
        """It as JSON; its arrays and objects are what json_to_recordset reads."""
        return {
            "id": self.id,
            "tenant_id": self.tenant_id,
            "measure": self.rule.nature.measure,
            "types": TYPES[self.rule.nature.measure],
            "workflow_ids": list(self.scope.workflow_ids),
            "labels": dict(self.scope.labels),
            "seconds": self.rule.seconds,
            "clear_seconds": self.rule.clear_seconds,
            "from_created": self.from_created,
        }

    def columns(self) -> dict[str, object]:
        """The same for the statements about one rule."""
        facts = self.facts()
        return {
            "tenant": self.tenant_id,
            "workflow_ids": facts["workflow_ids"],
            "labels": json.dumps(facts["labels"]),
            "seconds": self.rule.seconds,
            "from_created": self.from_created,
        }


@dataclass(frozen=True, slots=True)
class State:
    """What a rule came to, in the columns of `sla_state`."""

    sla_id: int
    sight: str
    was_bad: bool
    value: float | None
    total: int
    good: int
    late: int
    budget: float | None
    burns: list[list[float]]
    no_data: bool
    error: str | None

    def as_json(self) -> str:
        """It as JSON.  Raises ValueError where a number is none that JSON knows."""
        facts = {name: getattr(self, name) for name in State.__slots__}
        return json.dumps(facts, allow_nan=False)


RULE = (
    "kind", "threshold", "target", "window_s", "min_samples", "no_data", "for_s", "clear_for_s",
    "clear_threshold", "burn", "severity",
)  # fmt: skip
"""The columns of `sla` that a rule is made of."""


def rule_from(columns: Mapping[str, Any]) -> Rule:
    """A rule from its columns.  Raises ValueError, TypeError where they are none of ours."""
    known = {name: columns[name] for name in RULE}
    known["kind"] = Kind(known["kind"])
    known["no_data"] = NoData(known["no_data"])
    known["severity"] = Severity(known["severity"])
    known["burn"] = tuple(Burn(*pair) for pair in known["burn"])
    return Rule(**known)


@dataclass(frozen=True, slots=True)
class Known:
    """An enabled rule with what it came to last (`sight` None: it was not looked at yet); `rule` is
    None, and `error` says why, where its columns make none."""

    id: int
    tenant_id: int
    name: str
    counted: Counted | None
    error: str | None
    workflow: str | None
    """Its workflow's name, where it is about one."""
    counted_since: datetime | None
    state: State | None
    at: datetime | None


_RULES = b"""
SELECT s.id, s.tenant_id, s.name, s.workflow_ids, s.labels::text, s.kind, s.threshold, s.target, s.window_s,
       s.min_samples, s.no_data, s.for_s, s.clear_for_s, s.clear_threshold, s.burn::text, s.severity,
       s.counted_since,
       CASE WHEN cardinality(s.workflow_ids) = 1
            THEN (SELECT w.name FROM workflow w WHERE w.id = s.workflow_ids[1]) END AS workflow,
       p.sla_id, p.sight, p.was_bad, p.value, p.total, p.good, p.late, p.budget, p.burns::text,
       p.no_data AS had_none, p.error, p.at
  FROM sla s LEFT JOIN sla_state p ON p.sla_id = s.id
 WHERE s.enabled AND (%(tenants)s::int[] IS NULL OR s.tenant_id = ANY (%(tenants)s::int[]))
 ORDER BY s.id
"""


def rules(connection: Connection, tenants: Sequence[int] | None = None) -> list[Known]:
    """The enabled rules, of these tenants or of all."""
    cursor = connection.cursor(row_factory=dict_row)
    found = cursor.execute(_RULES, {"tenants": None if tenants is None else list(tenants)})
    return [_known(row) for row in found.fetchall()]


def _known(row: dict[str, Any]) -> Known:
    error = None
    counted = None
    for name in ("labels", "burn", "burns"):  # as text, since Django's connections read jsonb so
        row[name] = None if row[name] is None else json.loads(row[name])
    try:
        scope = Scope(tuple(row["workflow_ids"]), row["labels"])
        counted = Counted(row["id"], row["tenant_id"], rule_from(row), scope)
    except (TypeError, ValueError) as wrong:
        error = f"{type(wrong).__name__}: {wrong}"[:500]
    state = None
    if row["sla_id"] is not None:
        columns = {name: row["had_none" if name == "no_data" else name] for name in State.__slots__}
        state = State(**columns)
    return Known(
        row["id"], row["tenant_id"], row["name"], counted, error, row["workflow"],
        row["counted_since"], state, row["at"],
    )  # fmt: skip
