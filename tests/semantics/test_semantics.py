"""The engine's statements against a plain model of what the contract says."""

from __future__ import annotations

import os
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.semantics.blueprints import blueprints
from tests.semantics.machine import MOVES, Semantics


@pytest.mark.usefixtures("db")
@settings(
    max_examples=int(os.environ.get("SEMANTIC_EXAMPLES", "60")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking would take minutes
)
@given(
    documents=st.lists(blueprints(), min_size=1, max_size=3),
    choices=st.lists(st.integers(0, 9_999), min_size=3 * MOVES, max_size=3 * MOVES),
)
def test_random_runs_with_random_fates_follow_the_model(
    documents: list[dict[str, Any]], choices: list[int]
) -> None:
    with transaction.atomic():
        Semantics(documents, choices).play()
        transaction.set_rollback(True)
