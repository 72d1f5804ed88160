"""What a process keeps of the versions it runs: parsed once, bounded, the least used go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

from orchestrator.domain import jsonvalue
from orchestrator.domain.definition import DEFAULT_QUEUE, Call, Definition, Step, load
from orchestrator.domain.maps import SOURCE
from orchestrator.domain.statuses import TriggerRule
from orchestrator.domain.undo import COMPENSATION, UNDO
from orchestrator.handlers import HandlerSpec, Registry
from orchestrator.store import Connection, plans
from orchestrator.store.work import Claimed

MAX_STEPS = 100_000
CPU_QUEUE = "cpu"


@dataclass(frozen=True, slots=True)
class StepPlan:
    """A step with what this process runs for it."""

    step: Step
    spec: HandlerSpec | None
    kind: str
    """async, blocking or cpu: where it runs.  `queue: cpu` sends any handler to a process of its own."""
    timeout_s: float
    names: tuple[str, ...]
    """Names of the version's steps by ordinal."""
    source: StepPlan | None = None
    """Of a streamed map: what reads its source, as a step with the map's own retry and timeout."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A version, ready to be executed."""

    tenant: str
    definition: Definition
    steps: tuple[StepPlan, ...]
    calls: dict[tuple[int, int], StepPlan]
    """What steps call besides their handlers (compensations, undos), by ordinal and batch, each as a
    step of its own."""

    def of(self, claimed: Claimed) -> StepPlan:
        """What a claim runs."""
        if claimed.batch == SOURCE:
            source = self.steps[claimed.ordinal].source
            assert source is not None
            return source
        if claimed.batch in (COMPENSATION, UNDO):
            return self.calls[claimed.ordinal, claimed.batch]
        return self.steps[claimed.ordinal]


class Plans:
    """A cache of plans by version id."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._plans: OrderedDict[int, Plan] = OrderedDict()
        self._size = 0

    def get(self, version_id: int) -> Plan:
        """A plan that `need` has fetched."""
        self._plans.move_to_end(version_id)
        return self._plans[version_id]

    def find(self, version_id: int) -> Plan | None:
        """A plan, if it is still here."""
        return self._plans.get(version_id)

    def need(self, connection: Connection, version_ids: Iterable[int]) -> None:
        """Fetch those that are not here yet, in one statement."""
        wanted = set(version_ids)
        missing = [number for number in wanted if number not in self._plans]
        if not missing:
            return
        for number, tenant, document in plans.fetch(connection, missing):
            plan = self._build(tenant, document)
            self._plans[number] = plan
            self._size += len(plan.steps)
        while self._size > MAX_STEPS and len(self._plans) > len(wanted):
            number, plan = next(iter(self._plans.items()))
            if number in wanted:
                self._plans.move_to_end(number)
                continue
            del self._plans[number]
            self._size -= len(plan.steps)

    def _build(self, tenant: str, document: str) -> Plan:
        definition = load(
            cast("dict[str, object]", jsonvalue.decode(document)),
            handlers=self._registry.info,
        )
        names = tuple(step.name for step in definition.steps)
        calls = {}
        for step in definition.steps:
            if step.compensate is not None:
                called = _as_step(step, step.compensate, step.trigger_rule)
                calls[step.ordinal, COMPENSATION] = self._step(called, names)
            if step.undo is not None:
                called = _as_step(step, step.undo, TriggerRule.ALWAYS)
                calls[step.ordinal, UNDO] = self._step(called, names)
        steps = tuple(self._step(step, names) for step in definition.steps)
        return Plan(tenant, definition, steps, calls)

    def _step(self, step: Step, names: tuple[str, ...]) -> StepPlan:
        spec = self._registry.get(step.handler) if step.handler else None
        source = self._source(step, names)
        kind = _kind(step.queue, spec)
        return StepPlan(step, spec, kind, step.timeout.total_seconds(), names, source)

    def _source(self, step: Step, names: tuple[str, ...]) -> StepPlan | None:
        if step.map is None or not isinstance(step.map.over, Call):
            return None
        call = step.map.over
        spec = self._registry.get(call.handler)
        queue = (spec.queue if spec else None) or DEFAULT_QUEUE
        reads = replace(
            step,
            handler=call.handler,
            args=call.args,
            queue=queue,
            heartbeat=None,
            has_on_error_value=False,
        )
        kind = _kind(queue, spec)
        return StepPlan(reads, spec, kind, step.timeout.total_seconds(), names)


def _kind(queue: str, spec: HandlerSpec | None) -> str:
    """Where a step of this queue runs: the step's queue decides, whatever its handler's own is."""
    if queue == CPU_QUEUE:
        return "cpu"
    return "async" if spec is not None and spec.is_async else "blocking"


def _as_step(step: Step, call: Call, rule: TriggerRule) -> Step:
    """A compensation or undo as a step of its own: nothing but its handler, arguments and policy."""
    return replace(
        step,
        kind="handler",
        handler=call.handler,
        args=call.args,
        queue=call.queue,
        timeout=call.timeout,
        retry=call.retry,
        needs=(step.ordinal, *call.needs),
        needs_input=True,
        secrets=call.secrets,
        trigger_rule=rule,
        condition=None,
        heartbeat=None,
        pool=None,
        has_on_error_value=False,
        on_error_value=None,
        map=None,
        cache=None,
        repeat=None,
    )
