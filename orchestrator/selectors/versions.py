"""Versions never change, so what is read of one is kept: names and edges, and compiled schemas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.db.models import Count, Q

from orchestrator.domain import jsonvalue
from orchestrator.domain.definition import load
from orchestrator.domain.schemas import Validator, compile_schema
from orchestrator.models import VersionStep, WorkflowVersion


@dataclass(frozen=True, slots=True)
class StepInfo:
    """A step of a version.  `parents` are ordinals."""

    ordinal: int
    name: str
    handler: str | None
    rule: str
    max_attempts: int
    parents: tuple[int, ...]
    is_map: bool = False
    compensate: str | None = None
    undo: str | None = None
    undo_attempts: int = 0


@dataclass(frozen=True, slots=True)
class VersionGraph:
    """A version's steps in definition order, and their ordinals by name."""

    steps: tuple[StepInfo, ...]
    ordinals: dict[str, int]

    def name(self, ordinal: int | None) -> str | None:
        """The name of a step; None for what belongs to no step."""
        return None if ordinal is None or ordinal < 0 else self.steps[ordinal].name

    def is_map(self, name: str) -> bool:
        """Whether the step is a map; False where there is no such step."""
        ordinal = self.ordinals.get(name)
        return ordinal is not None and self.steps[ordinal].is_map

    def parent_names(self, ordinal: int) -> list[str]:
        """The steps that this one waits for."""
        return [self.steps[parent].name for parent in self.steps[ordinal].parents]


@lru_cache(maxsize=128)
def version_graph(version_id: int) -> VersionGraph:
    """The graph of a version.  The caller has made sure that the version is the tenant's."""
    document = _document(version_id)
    handlers, maps = _handlers(document)
    calls = _calls(document)
    rows = (
        VersionStep.objects.filter(version_id=version_id)
        .order_by("ordinal")
        .values_list("ordinal", "name", "rule", "max_attempts", "parents")
    )
    steps = tuple(
        StepInfo(
            ordinal,
            name,
            handlers.get(name),
            rule,
            max_attempts,
            tuple(parents),
            is_map=name in maps,
            **calls.get(name, {}),
        )
        for ordinal, name, rule, max_attempts, parents in rows
    )
    return VersionGraph(steps, {step.name: step.ordinal for step in steps})


def _calls(document: dict[str, object]) -> dict[str, dict[str, Any]]:
    """Of the steps that have them, the handlers of their compensation and undo."""
    steps = document.get("steps")
    listed = steps if isinstance(steps, list) else []
    if not any("compensate" in step or "undo" in step for step in listed):
        return {}
    return {
        step.name: {
            "compensate": step.compensate.handler if step.compensate else None,
            "undo": step.undo.handler if step.undo else None,
            "undo_attempts": step.undo.retry.max_attempts if step.undo else 0,
        }
        for step in load(document).steps
    }


def _handlers(document: dict[str, object]) -> tuple[dict[str, str], frozenset[str]]:
    """The steps' handlers by name, and which of them are maps."""
    listed = document.get("steps")
    steps = listed if isinstance(listed, list) else []
    handlers = {step["name"]: step["handler"] for step in steps if "handler" in step}
    return handlers, frozenset(step["name"] for step in steps if "map" in step)


def _document(version_id: int) -> dict[str, object]:
    text = WorkflowVersion.objects.values_list("document", flat=True).get(pk=version_id)
    document = jsonvalue.decode(text)
    assert isinstance(document, dict)
    return document


@dataclass(frozen=True, slots=True)
class VersionFacts:
    """What submitting needs of a version.  `validator` is None where it accepts any input;
    `root_count` counts the steps that are ready at once."""

    priority: int
    step_count: int
    root_count: int
    validator: Validator | None


@lru_cache(maxsize=512)
def version_facts(version_id: int) -> VersionFacts:
    """The facts of a version.  The caller has made sure that the version is the tenant's."""
    schema = _document(version_id).get("input_schema")
    priority, steps, roots = (
        WorkflowVersion.objects.filter(pk=version_id)
        .annotate(roots=Count("steps", filter=Q(steps__parents=[])))
        .values_list("priority", "step_count", "roots")
        .get()
    )
    validator = compile_schema(schema) if isinstance(schema, dict) and schema else None
    return VersionFacts(priority, steps, roots, validator)
