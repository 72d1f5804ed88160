"""A traced system: from the submitter's span to the handler's own, and on to whom it calls."""

from __future__ import annotations

import pytest

from tests.observing.receiver import collector
from tests.system.running_system import start_system
from tests.system.shapes import call

pytestmark = pytest.mark.system
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_run_is_traced_from_its_submitter_to_whom_its_steps_call() -> None:
    with collector() as found:
        more = {"OTEL_EXPORTER_OTLP_ENDPOINT": found.url, "ORCHESTRATOR_HTTP_ALLOW_PRIVATE": "true",
                "OTEL_BSP_SCHEDULE_DELAY": "200"}  # fmt: skip
        with start_system(**more) as system:
            tenant = system.tenant()
            tenant.publish("inner", [call("a", "noop")])
            tenant.publish(
                "traced",
                [
                    call("async_one", "place"),
                    call("thread", "place_blocking"),
                    call("process", "place_blocking", queue="cpu"),
                    {
                        "name": "calls",
                        "handler": "core.http",
                        "args": {"url": f"{found.url}/there"},
                    },
                    {"name": "child", "workflow": "inner"},
                    call("fails", "fail", on_error={"value": None}),
                ],
            )
            answer = tenant.http.post(
                "/workflows/traced/runs", json={}, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"}
            )
            run = tenant.wait(answer.json()["id"], within_s=60)
            assert run["state"] == "succeeded", tenant.steps(run["id"])
            found.until(lambda: found.named("run traced") and found.named("run inner"))
            names = ("async_one", "thread", "process")
            found.until(lambda: len(found.named("my own work")) >= 2)
            (top,) = found.named("run traced")
            (asked,) = [
                one
                for one in found.named("POST /api/v1/workflows/<name>/runs")
                if one.trace_id == TRACE
            ]
            assert asked.parent == SPAN
            assert (top.trace_id, top.parent) == (TRACE, asked.span_id)
            rows = tenant.steps(run["id"])
            own = {one.parent for one in found.named("my own work")}
            for name in names:
                (attempt,) = found.named(f"attempt {name}")
                (step,) = found.named(f"step {name}")
                assert (attempt.parent, step.parent) == (step.span_id, top.span_id)
                assert rows[name]["output"] == {
                    "given": f"00-{TRACE}-{attempt.span_id}-01",
                    "trace": TRACE,
                    "span": attempt.span_id,
                }
                assert step.begun <= attempt.begun <= attempt.ended <= step.ended
                if name != "process":  # which may be killed before it has sent what is its own
                    assert attempt.span_id in own
            (outgoing,) = [one for one in found.headers if "idempotency-key" in one]
            (calls,) = found.named("attempt calls")
            assert outgoing["traceparent"] == f"00-{TRACE}-{calls.span_id}-01"
            (inner,) = found.named("run inner")
            (child,) = found.named("step child")
            assert (inner.trace_id, inner.parent) == (TRACE, child.span_id)
