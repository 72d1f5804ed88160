"""Steps that fail, and runs that are taken up again."""

from __future__ import annotations

from orchestrator.models import Run
from orchestrator.services import repairs
from tenants.actors import SYSTEM
from tenants.models import Tenant
from tests.engine import Engine


def fail(engine: Engine, *ordinals: int) -> None:
    """Claim until these steps run, and fail them; the others succeed with their ordinal."""
    left = set(ordinals)
    while claims := engine.claim():
        for claim in claims:
            if claim.ordinal in left:
                left.discard(claim.ordinal)
                engine.fail(claim)
            else:
                engine.succeed([claim], claim.ordinal)
    assert not left


def retry(tenant: Tenant, run: Run, from_step: str | None = None) -> None:
    body = {} if from_step is None else {"from_step": from_step}
    repairs.retry_run(tenant=tenant, run_id=run.pk, body=body, actor=SYSTEM)
    run.refresh_from_db()
