"""The engine's statements against a plain model of what the contract says."""

from __future__ import annotations

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.semantics.machine import Semantics


@pytest.mark.usefixtures("db")
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking would take minutes
)
@given(data=st.data())
def test_random_runs_with_random_fates_follow_the_model(data: st.DataObject) -> None:
    with transaction.atomic():
        Semantics(data).play()
        transaction.set_rollback(True)
