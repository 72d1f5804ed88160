"""Large payloads between claims and completions: fetched before a step, put away after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from orchestrator.executor import control, invoke
from orchestrator.executor.plans import Plans
from orchestrator.store import Connection, payloads, work
from orchestrator.store.payloads import PayloadTooLarge
from orchestrator.store.settling import Settled
from orchestrator.store.work import Claimed, Completion, Verdict


class Unreadable(invoke.Fault):
    """A payload that a claim needs cannot be read; what is gone is not tried again."""

    def __init__(self, error: payloads.PayloadUnreadable) -> None:
        message = f"a payload could not be read: {error}"
        super().__init__("error", message, retry=not error.gone)
        self.gone = error.gone


def whole(connection: Connection, claimed: Claimed, needs: Sequence[int]) -> Claimed:
    """The claim with what was too large to come with it.  Raises Unreadable, psycopg.Error."""
    if claimed.lazy:
        claimed = work.fetch_inputs(connection, claimed, needs)
    texts = [claimed.args, claimed.input, *(claimed.outputs or ())]
    if not payloads.has_reference(texts):
        return claimed
    try:
        args, given, *outputs = payloads.resolve(connection, texts)
    except payloads.PayloadUnreadable as error:
        raise Unreadable(error) from error
    return claimed._replace(
        args=args, input=given, outputs=None if claimed.outputs is None else outputs
    )


def put_away(connection: Connection, plans: Plans, completions: Sequence[Completion]) -> None:
    """Put references in place of large outputs and arguments; an output beyond the tenant's limit
    fails its attempt.  What was put away before is left alone, so it may be called again."""
    limits = payloads.small_limits(
        connection, ((one.claimed.tenant_id, one.output) for one in completions)
    )
    for completion in completions:
        claimed = completion.claimed
        if claimed.batch < 0:
            continue  # what a step calls besides; a chunk of a source, which SQL takes apart
        try:
            if claimed.batch > 0:
                completion.output = _results(connection, claimed, completion.output, limits)
                continue
            completion.args = _kept(connection, claimed, completion.args)
            completion.output = _limited(connection, claimed, completion.output, limits)
        except PayloadTooLarge as error:
            _refuse(plans, completion, error)


def verdicts_put_away(
    connection: Connection, verdicts: Sequence[Verdict | Settled]
) -> list[Verdict | Settled]:
    """The verdicts with references in place of large outputs, values of `on_error` and signals."""
    limits = payloads.small_limits(
        connection,
        ((one.claimed.tenant_id, one.value) for one in verdicts if one.verdict == "output"),
    )
    found: list[Verdict | Settled] = []
    for verdict in verdicts:
        if isinstance(verdict, Verdict) and verdict.verdict == "output":
            found.append(_output(connection, verdict, limits))
        elif verdict.verdict == "succeeded" and payloads.is_large(verdict.value):
            kept = _kept(connection, verdict.claimed, verdict.value)
            found.append(replace(verdict, value=kept))
        elif payloads.is_large(verdict.fallback):
            kept = _kept(connection, verdict.claimed, verdict.fallback)
            found.append(replace(verdict, fallback=kept))
        else:
            found.append(verdict)
    return found


def _output(connection: Connection, verdict: Verdict, limits: Mapping[int, int]) -> Verdict:
    try:
        kept = _limited(connection, verdict.claimed, verdict.value, limits)
    except PayloadTooLarge as error:
        return control.refused_output(verdict.claimed, f"output: {error}")
    return verdict if kept is verdict.value else replace(verdict, value=kept)


def _kept(
    connection: Connection, claimed: Claimed, text: str | None, *, limited: bool = False
) -> str | None:
    if text is None or not payloads.is_large(text):
        return text
    return payloads.keep(
        connection, tenant_id=claimed.tenant_id, run_id=claimed.run_id, text=text, limited=limited
    )


def _limited(
    connection: Connection, claimed: Claimed, text: str | None, limits: Mapping[int, int]
) -> str | None:
    """The same for what the tenant's limit holds for; `limits`: those beneath what stays in its row.

    Raises PayloadTooLarge."""
    limit = limits.get(claimed.tenant_id)
    if limit is not None and text is not None and (size := len(text.encode())) > limit:
        raise PayloadTooLarge(size, limit)
    return _kept(connection, claimed, text, limited=True)


def _results(
    connection: Connection, claimed: Claimed, text: str | None, limits: Mapping[int, int]
) -> str | None:
    """A batch's list; of a large one what is between its brackets is put away, for SQL puts the map's
    output together of that."""
    if text is None or not payloads.is_large(text):
        return _limited(connection, claimed, text, limits)
    return f"[{_limited(connection, claimed, text[1:-1], limits)}]"


def _refuse(plans: Plans, completion: Completion, error: PayloadTooLarge) -> None:
    """Let the attempt fail for its output, as one that is larger than the server's limit does."""
    fault = invoke.Fault("invalid_output", f"the result cannot be kept: {error}", retry=False)
    described = invoke.describe(fault)
    plan = plans.find(completion.claimed.version_id)
    step = None if plan is None else plan.steps[completion.claimed.ordinal]
    failed = (
        Completion(completion.claimed, "failed", completion.seconds, error=described)
        if step is None or completion.claimed.batch
        else invoke.final_failure(step, completion.claimed, described, completion.seconds)
    )
    completion.outcome, completion.output = failed.outcome, failed.output
    completion.error, completion.handled = failed.error, failed.handled
