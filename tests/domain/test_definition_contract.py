"""The contract's own example is read in full."""

from datetime import timedelta
from typing import Any

from orchestrator.domain.definition import load
from orchestrator.domain.expressions import Template
from orchestrator.domain.retries import RetryPolicy
from orchestrator.domain.statuses import TriggerRule

CONTRACT: dict[str, Any] = {
    "name": "order-fulfilment",
    "description": "text",
    "input_schema": {},
    "timeout": "1h",
    "max_parallel": 16,
    "fail_fast": False,
    "priority": 5,
    "steps": [
        {
            "name": "fetch_profile",
            "handler": "demo.fetch_profile",
            "args": {"user_id": "${{ input.user_id }}"},
            "depends_on": [],
            "if": "${{ input.user_id > 0 }}",
            "trigger_rule": "all_success",
            "retry": {
                "max_attempts": 3,
                "delay": "1s",
                "factor": 2,
                "max_delay": "60s",
                "jitter": 0.25,
                "never_on": ["ValueError"],
                "only_on": [],
            },
            "timeout": "5m",
            "heartbeat": "30s",
            "queue": "io",
            "pool": "payments",
            "on_error": "fail",
            "compensate": {"handler": "demo.refund", "args": {}},
            "undo": {"handler": "demo.unreserve", "args": {}},
            "cache": {"key": "${{ input.user_id }}", "ttl": "10m"},
            "repeat": {"until": "${{ output.done }}", "max": 10, "delay": "1s"},
        },
        {
            "name": "resize_images",
            "handler": "demo.resize",
            "map": {
                "over": "${{ input.images }}",
                "batch_size": 100,
                "max_in_flight": 10,
                "ordered": True,
                "on_error": "fail_fast",
                "collect": True,
            },
        },
        {"name": "price", "handler": "demo.price"},
        {
            "name": "charge",
            "workflow": "charge-card",
            "args": {"amount": "${{ steps.price.output.total }}"},
        },
        {"name": "approve", "signal": "approval", "timeout": "2d", "depends_on": ["charge"]},
        {"name": "pause", "sleep": "10s", "depends_on": ["approve"]},
    ],
    "output": "${{ steps.charge.output }}",
}


def test_the_contracts_example_is_read_in_full() -> None:
    found = load(CONTRACT)
    assert found.name == "order-fulfilment"
    assert found.description == "text"
    assert found.input_schema is None
    assert found.timeout == timedelta(hours=1)
    assert (found.max_parallel, found.fail_fast, found.priority) == (16, False, 5)
    profile, resize, price, charge, approve, pause = found.steps
    assert [step.kind for step in found.steps] == [
        "handler",
        "handler",
        "handler",
        "workflow",
        "signal",
        "sleep",
    ]
    assert profile.retry == RetryPolicy(3, never_on=("ValueError",))
    assert profile.trigger_rule is TriggerRule.ALL_SUCCESS
    assert profile.condition is not None
    assert (profile.timeout, profile.timeout_given) == (timedelta(minutes=5), True)
    assert profile.heartbeat == timedelta(seconds=30)
    assert (profile.queue, profile.pool) == ("io", "payments")
    assert not profile.has_on_error_value
    assert profile.compensate is not None
    assert profile.compensate.handler == "demo.refund"
    assert profile.undo is not None
    assert profile.undo.args.evaluate({}) == {}
    assert profile.cache is not None
    assert profile.cache.ttl == timedelta(minutes=10)
    assert profile.repeat is not None
    assert (profile.repeat.max, profile.repeat.delay) == (10, timedelta(seconds=1))
    assert profile.document == CONTRACT["steps"][0]
    assert resize.map is not None
    assert isinstance(resize.map.over, Template)
    assert (resize.map.batch_size, resize.map.max_in_flight) == (100, 10)
    assert (resize.map.ordered, resize.map.collect) == (True, True)
    assert (resize.map.on_error, resize.map.max_failures) == ("fail_fast", None)
    assert (charge.workflow, charge.handler) == ("charge-card", None)
    assert (charge.depends_on, charge.parents, charge.needs) == (("price",), (2,), (2,))
    assert price.children == (3,)
    assert (approve.signal, approve.timeout) == ("approval", timedelta(days=2))
    assert pause.sleep == timedelta(seconds=10)
    assert found.leaves == (0, 1, 5)
    assert found.output is not None
    assert found.output_needs == (3,)
