"""Flights of a test's own handlers, without a database."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from orchestrator.conf import conf
from orchestrator.executor.flights import Flight
from orchestrator.executor.plans import Plans
from orchestrator.handlers import StepContext, Stop, registry
from orchestrator.services.sessions import make_pools
from orchestrator.store.work import Claimed
from tenants.connections import Session


def flight(function: Callable[..., Any], **step: Any) -> Flight:
    """An attempt of a step whose handler takes the context alone and is this function."""
    registry.load()
    document = {"name": "w", "steps": [{"name": "a", "handler": "core.echo", **step}]}
    plan = Plans(registry)._build("t", json.dumps(document)).steps[0]
    assert plan.spec is not None
    plan = replace(plan, spec=replace(plan.spec, function=function, takes_context=True))
    claimed = Claimed("step", 1, uuid4(), 0, 0, 1, 1, 0, 0, False, None, None, "{}",
                      "{}", [], [], [], False)  # fmt: skip
    stop = Stop()
    session = Session(make_pools(conf()), 1)
    context = StepContext("t", UUID(int=1), "a", None, 1, {}, _stop=stop, _session=session)
    return Flight(claimed, plan, context, stop, {})
