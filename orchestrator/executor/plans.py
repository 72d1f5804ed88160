"""What a process keeps of the versions it runs: parsed once, bounded, the least used go first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import cast

from orchestrator.domain import jsonvalue
from orchestrator.domain.definition import DEFAULT_QUEUE, Call, Definition, Step, load
from orchestrator.handlers import HandlerSpec, Registry
from orchestrator.store import Connection, plans

MAX_STEPS = 100_000


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
        steps = []
        for step in definition.steps:
            spec = self._registry.get(step.handler) if step.handler else None
            kind = "cpu" if step.queue == "cpu" else spec.kind if spec else "blocking"
            timeout_s = step.timeout.total_seconds()
            source = self._source(step, names)
            steps.append(StepPlan(step, spec, kind, timeout_s, names, source))
        return Plan(tenant, definition, tuple(steps))

    def _source(self, step: Step, names: tuple[str, ...]) -> StepPlan | None:
        if step.map is None or not isinstance(step.map.over, Call):
            return None
        call = step.map.over
        spec = self._registry.get(call.handler)
        queue = (spec.queue if spec else None) or DEFAULT_QUEUE
        kind = "cpu" if queue == "cpu" else spec.kind if spec else "blocking"
        reads = replace(
            step, handler=call.handler, args=call.args, queue=queue, has_on_error_value=False
        )
        return StepPlan(reads, spec, kind, step.timeout.total_seconds(), names)
