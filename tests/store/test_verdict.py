"""The rule of readiness in SQL says what the domain's model says, for every rule and count."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from orchestrator import store
from orchestrator.domain.statuses import TriggerRule, decide

MOST_PARENTS = 4
VERDICTS = """
SELECT engine_verdict(rule, total, remaining, ok, failed, skipped)
  FROM unnest(%s::text[], %s::int[], %s::int[], %s::int[], %s::int[], %s::int[])
       WITH ORDINALITY AS c (rule, total, remaining, ok, failed, skipped, place)
 ORDER BY place
"""


@pytest.mark.django_db
def test_the_verdict_of_sql_is_the_model_s_for_every_rule_and_every_count() -> None:
    cases: list[tuple[Any, ...]] = [
        (rule.value, total, *counts)
        for rule in TriggerRule
        for total in range(MOST_PARENTS + 1)
        for counts in product(range(total + 1), repeat=4)
        if sum(counts) <= total  # what is left over was cancelled
    ]
    rows = store.connection().execute(VERDICTS, [list(c) for c in zip(*cases, strict=True)])
    said = [row[0] for row in rows.fetchall()]
    expected = [
        decide(
            TriggerRule(rule), total=total, left=left, ok=ok, failed=failed, skipped=skipped
        ).value
        for rule, total, left, ok, failed, skipped in cases
    ]
    assert len(cases) > 800
    assert said == expected
