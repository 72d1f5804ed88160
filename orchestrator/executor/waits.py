"""Steps that call no handler: they sleep, wait for a signal, or wait for a child run.

Deciding one takes no connection of its tenant, and while it waits it holds nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from uuid_utils.compat import uuid7

from orchestrator.domain import jsonvalue
from orchestrator.domain.concurrency import concurrency_key
from orchestrator.domain.definition import Definition
from orchestrator.domain.expressions import ExpressionFailed
from orchestrator.domain.schemas import Validator, compile_schema
from orchestrator.executor import invoke, repeating
from orchestrator.executor.plans import Plan, Plans, StepPlan
from orchestrator.store import Connection, payloads, waits
from orchestrator.store.settling import NewChild, Settled
from orchestrator.store.waits import Facts
from orchestrator.store.work import Claimed

DEEPEST = 20
"""Runs above a child run: a workflow that calls itself for ever ends here."""


@dataclass(frozen=True, slots=True)
class Means:
    """What deciding may need: the control loop's connection, the plans, and a payload's bytes."""

    connect: Callable[[], Connection]
    plans: Plans
    max_bytes: int


def begin(plan: Plan, claimed: Claimed, means: Means) -> Settled:
    """Its rule and its condition hold, or its next attempt is due: let it wait."""
    step = plan.steps[claimed.ordinal]
    if step.step.sleep is not None:
        delay_s = step.step.sleep.total_seconds()
        return Settled(claimed, "waiting", reason="sleep", delay_s=delay_s)
    delay = step.timeout_s if step.step.timeout_given else None
    if step.step.signal is not None:
        return Settled(claimed, "waiting", reason="signal", key=step.step.signal, delay_s=delay)
    facts = waits.facts(means.connect(), claimed)
    if facts is None:  # the run was deleted: nothing will be written
        return Settled(claimed, "cancelled")
    try:
        args, child = _child(plan, step, claimed, facts, means)
    except invoke.Fault as fault:
        return _failed(step, claimed, facts, fault)
    kept = args if facts.args is None else None
    return Settled(claimed, "waiting", reason="child", delay_s=delay, args=kept, child=child)


def ended(plan: Plan, claimed: Claimed, means: Means) -> Settled:
    """What it waited for has come, or did not come in time: its end, or its next time."""
    step = plan.steps[claimed.ordinal]
    facts = waits.facts(means.connect(), claimed)
    if facts is None:
        return Settled(claimed, "cancelled")
    if facts.error is not None:
        return _unsuccessful(step, claimed, facts, facts.error)
    output = facts.output or "null"
    try:
        again = step.step.repeat is not None and repeating.goes_on(
            step.step,
            claimed,
            payloads.resolve(means.connect(), [output])[0] or "null",
            repeats=facts.repeats,
            tenant=plan.tenant,
        )
    except invoke.Fault as fault:
        return _failed(step, claimed, facts, fault)
    if again and step.step.repeat is not None:
        delay_s = step.step.repeat.delay.total_seconds()
        return Settled(claimed, "waiting", reason="repeat", delay_s=delay_s)
    return Settled(claimed, "succeeded", output, counts=True)


def _unsuccessful(step: StepPlan, claimed: Claimed, facts: Facts, described: str) -> Settled:
    """The wait has ended with this error (JSON)."""
    if claimed.closing is not None and step.step.trigger_rule != "always":
        return Settled(claimed, "cancelled", described)
    error = cast("dict[str, str]", jsonvalue.stored(described))
    fault = invoke.Fault(error["code"], error["message"], retry=True)
    return _failed(step, claimed, facts, fault, described)


def _failed(
    step: StepPlan,
    claimed: Claimed,
    facts: Facts,
    fault: invoke.Fault,
    described: str | None = None,
) -> Settled:
    """An attempt has failed: another one by the step's policy, or its end."""
    counted = claimed._replace(attempts=facts.attempts)
    done = invoke.conclude(step, counted, fault, seconds=0.0, max_bytes=0)
    error = described or done.error
    if done.outcome == "waiting":
        return Settled(claimed, "waiting", error, reason="retry", delay_s=done.delay_s, counts=True)
    return Settled(claimed, "failed", error, done.output, counts=True)


def _child(
    plan: Plan, step: StepPlan, claimed: Claimed, facts: Facts, means: Means
) -> tuple[str, NewChild]:
    """The child's input (JSON, to be kept for other attempts) and the child.  Raises Fault."""
    assert step.step.workflow is not None
    if facts.depth >= DEEPEST:
        raise invoke.Fault("error", f"child runs nest at most {DEEPEST} deep", retry=False)
    args = _input(plan, step, claimed, facts, means)
    found = waits.child_version(
        means.connect(), tenant_id=claimed.tenant_id, name=step.step.workflow
    )
    if found is None or found[0]:
        gone = "there is no" if found is None else "no new runs are taken of the archived"
        raise invoke.Fault("error", f"{gone} workflow {step.step.workflow}", retry=False)
    version_id = found[1]
    means.plans.need(means.connect(), [version_id])
    definition = means.plans.get(version_id).definition
    value = jsonvalue.stored(args)
    if definition.input_schema is not None:
        wrong = _validator(jsonvalue.encode(definition.input_schema)).problems(value, "")
        if wrong:
            told = "; ".join(f"{one.path or 'the input'}: {one.message}" for one in wrong[:5])
            message = f"the input of {step.step.workflow} is not valid: {told}"
            raise invoke.Fault("invalid_arguments", message, retry=False)
    return args, _new_child(definition, version_id, args, value, plan.tenant, claimed)


def _input(plan: Plan, step: StepPlan, claimed: Claimed, facts: Facts, means: Means) -> str:
    if facts.args is not None:
        return payloads.resolve(means.connect(), [facts.args])[0] or "{}"
    try:
        value = step.step.args.evaluate(invoke.scope(plan, claimed))
        text = jsonvalue.encode(value, max_bytes=means.max_bytes)
    except ExpressionFailed as error:
        raise invoke.Fault("expression", str(error), retry=False) from None
    except (jsonvalue.NotJson, jsonvalue.TooBig) as error:
        message = f"the child's input cannot be kept: {error}"
        raise invoke.Fault("invalid_arguments", message, retry=False) from None
    if claimed.mask.json(text) != text:
        message = (
            "args: a secret is in the child's input, which is kept; let the child's steps name it"
        )
        raise invoke.Fault("expression", message, retry=False)
    return text


@lru_cache(maxsize=256)
def _validator(schema: str) -> Validator:
    return compile_schema(cast("dict[str, object]", jsonvalue.stored(schema)))


def _new_child(
    definition: Definition, version_id: int, args: str, value: object, tenant: str, claimed: Claimed
) -> NewChild:
    child_id = uuid7()
    key = None
    if definition.concurrency is not None:
        try:
            key = concurrency_key(
                definition.concurrency, value=value, run_id=str(child_id),
                labels=invoke.labels(claimed), tenant=tenant,
            )  # fmt: skip
        except (ExpressionFailed, jsonvalue.NotJson) as error:
            message = f"concurrency.key of {definition.name}: {error}"
            raise invoke.Fault("expression", message, retry=False) from None
    return NewChild(child_id, version_id, args, key)
