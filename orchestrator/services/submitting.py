"""From a submission that was read to the run that is to be made."""

from __future__ import annotations

import json

from uuid_utils.compat import uuid7

from orchestrator.domain import jsonvalue
from orchestrator.domain.concurrency import concurrency_key
from orchestrator.domain.errors import (
    ConcurrencyConflict,
    InvalidInput,
    OverQuota,
    Problem,
    TooLarge,
)
from orchestrator.domain.expressions import ExpressionFailed
from orchestrator.selectors.versions import version_facts
from orchestrator.services.submissions import Submission
from orchestrator.store.submit import NewRun, SubmittedRun
from tenants.models import Tenant


def new_run(
    *,
    tenant: Tenant,
    version_id: int,
    read: Submission,
    key: str | None,
    fingerprint: str | None,
    workflow: str | None = None,
) -> NewRun:
    """The run that a submission asks for; `workflow`: its name, for an entry of its own in the audit
    log.

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
        workflow=workflow,
    )


def refused(new: NewRun, result: SubmittedRun) -> ConcurrencyConflict | OverQuota:
    """The error of a run that was not made: its workflow's `concurrency` does not take it now, or a
    quota of the tenant."""
    if result.held == "quota":
        assert result.over is not None
        return OverQuota(**json.loads(result.over))
    spec = version_facts(new.version_id).concurrency
    return ConcurrencyConflict(key=new.concurrency, limit=None if spec is None else spec.limit)


def check_size(tenant: Tenant, text: str) -> None:
    """Whether an input (JSON text) is one that the tenant may keep.  Raises TooLarge."""
    limit = tenant.quota.max_payload_bytes
    # a character has at most four bytes
    if len(text) > limit // 4 and (size := len(text.encode())) > limit:
        raise TooLarge(
            f"The input is larger than {limit:,} bytes of JSON.",
            limit=limit,
            quota="max_payload_bytes",
            value=limit,
            use=size,
        )


def check_steps(tenant: Tenant, version_id: int) -> None:
    """Whether the version, published when more was allowed, has as many steps as a run may have now.

    Raises TooLarge."""
    limit, count = tenant.quota.max_steps, version_facts(version_id).step_count
    if count > limit:
        raise TooLarge(
            f"The version has {count:,} steps, and a run may have {limit:,}.",
            limit=limit,
            quota="max_steps",
            value=limit,
            use=count,
        )
