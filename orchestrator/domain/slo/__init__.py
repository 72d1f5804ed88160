"""Service levels: what a rule says, what it makes of what was counted, when it would have fired."""

from orchestrator.domain.slo.budget import Sums, budget_left, burn_rate
from orchestrator.domain.slo.judging import Verdict, judge
from orchestrator.domain.slo.reading import FIELDS, read_rule
from orchestrator.domain.slo.replaying import Firing, Replay, Slice, replay
from orchestrator.domain.slo.rules import (
    BURNS,
    NATURES,
    Burn,
    Kind,
    Measure,
    Nature,
    NoData,
    Rule,
    Scope,
)

__all__ = [
    "BURNS",
    "FIELDS",
    "NATURES",
    "Burn",
    "Firing",
    "Kind",
    "Measure",
    "Nature",
    "NoData",
    "Replay",
    "Rule",
    "Scope",
    "Slice",
    "Sums",
    "Verdict",
    "budget_left",
    "burn_rate",
    "judge",
    "read_rule",
    "replay",
]
