"""From a submission that was read to the run that is to be made."""

from __future__ import annotations

from uuid_utils.compat import uuid7

from orchestrator.domain import jsonvalue
from orchestrator.domain.concurrency import concurrency_key
from orchestrator.domain.errors import ConcurrencyConflict, InvalidInput, Problem
from orchestrator.domain.expressions import ExpressionFailed
from orchestrator.selectors.versions import version_facts
from orchestrator.services.submissions import Submission
from orchestrator.store.submit import NewRun
from tenants.models import Tenant


def new_run(
    *,
    tenant: Tenant,
    version_id: int,
    read: Submission,
    key: str | None,
    fingerprint: str | None,
) -> NewRun:
    """The run that a submission asks for.

    Raises InvalidInput: the workflow's `concurrency.key` cannot be evaluated for this input."""
    run_id = uuid7()
    spec = version_facts(version_id).concurrency
    concurrency = None
    if spec is not None:
        labels = jsonvalue.decode(read.labels)
        assert isinstance(labels, dict)
        try:
            concurrency = concurrency_key(
                spec, value=read.input, run_id=str(run_id), labels=labels, tenant=tenant.slug
            )
        except (ExpressionFailed, jsonvalue.NotJson) as error:
            message = f"the workflow's concurrency.key cannot be evaluated for it: {error}"
            raise InvalidInput(problems=[Problem("/input", message, "bad_input")]) from None
    return NewRun(
        id=run_id,
        version_id=version_id,
        input=jsonvalue.encode(read.input),
        labels=read.labels,
        priority=read.priority,
        deadline_at=read.deadline_at,
        key=key,
        fingerprint=fingerprint,
        start_at=read.start_at,
        concurrency=concurrency,
    )


def refused(new: NewRun) -> ConcurrencyConflict:
    """The error of a run that its workflow's `concurrency` does not take now."""
    spec = version_facts(new.version_id).concurrency
    return ConcurrencyConflict(key=new.concurrency, limit=None if spec is None else spec.limit)
