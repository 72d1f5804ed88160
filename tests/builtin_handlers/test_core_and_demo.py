from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import yaml

from orchestrator.domain.definition import Definition, parse_definition
from orchestrator.handlers import Abort, StepContext, registry

SAMPLES = Path(__file__).parents[2] / "orchestrator" / "samples"


def call(name: str, *, attempt: int = 1, **args: Any) -> Any:
    """What a handler makes of arguments."""
    spec = registry.get(name)
    assert spec is not None
    assert spec.misfit(args) is None
    ctx = StepContext("t", UUID(int=1), "s", None, attempt, {})
    result = spec.function(ctx, **args)
    return asyncio.run(result) if inspect.iscoroutine(result) else result


def test_echo() -> None:
    assert call("core.echo", a=2**64, b=None) == {"a": 2**64, "b": None}


@pytest.mark.parametrize("args", [{"ms": 1}, {"ms": 0}, {"duration": "1ms"}, {"duration": 0.001}])
def test_sleep(args: dict[str, Any]) -> None:
    assert call("core.sleep", **args) is None


@pytest.mark.parametrize(
    "args", [{}, {"ms": 1, "duration": 1}, {"ms": -1}, {"ms": "x"}, {"duration": "x"}]
)
def test_sleep_refuses(args: dict[str, Any]) -> None:
    with pytest.raises(Abort):
        call("core.sleep", **args)


def test_fail() -> None:
    with pytest.raises(RuntimeError, match="on purpose"):
        call("core.fail")
    with pytest.raises(KeyError):
        call("core.fail", type="KeyError", message="x")
    with pytest.raises(Exception, match="broke") as raised:
        call("core.fail", type="CardDeclined", message="broke")
    assert type(raised.value).__name__ == "CardDeclined"
    with pytest.raises(Exception, match="x") as raised:
        call("core.fail", type="UnicodeDecodeError", message="x")
    with pytest.raises(Abort, match="no name"):
        call("core.fail", type="not a name")
    with pytest.raises(Abort, match="enough"):
        call("core.fail", abort=True, message="enough")


def test_fail_so_many_times() -> None:
    with pytest.raises(RuntimeError):
        call("core.fail", times=2, attempt=2)
    assert call("core.fail", times=2, attempt=3, value="well") == "well"


def test_eval() -> None:
    assert call("core.eval", expression="input.a ** 64", input={"a": 2}) == 2**64
    for expression in ("1 +", "nope", "input.missing", "__import__('os')", "10 ** 10 ** 10"):
        with pytest.raises(Abort):
            call("core.eval", expression=expression, input={})


def test_demo() -> None:
    assert call("demo.square", x=2**32) == 2**64
    assert call("demo.multiply", x=2**32, y=2**32) == 2**64
    profile = call("demo.fetch_profile", user_id=7)
    assert profile == call("demo.fetch_profile", user_id=7)
    parts = (
        profile,
        call("demo.fetch_preferences", user_id=7),
        call("demo.fetch_activity", user_id=7),
    )
    whole = call("demo.aggregate", profile=parts[0], preferences=parts[1], activity=parts[2])
    assert set(whole) == {"user_id", "name", "theme", "visits"}
    order: dict[str, Any] = {"order_id": "o"}
    assert call("demo.reserve", **order, items=[{"sku": 1}])["items"] == 1
    with pytest.raises(Abort):
        call("demo.reserve", **order, items=[])
    assert call("demo.unreserve", **order)["released"]
    assert call("demo.refund", **order)["refunded"]
    assert call("demo.charge", **order, amount=5, fail_first=1, attempt=2)["charged"] == 5
    with pytest.raises(ConnectionError):
        call("demo.charge", **order, amount=5, fail_first=1)
    with pytest.raises(Abort):
        call("demo.charge", **order, amount=0)
    assert 0 <= call("demo.score", **order)["risk"] < 1
    with pytest.raises(ConnectionError):
        call("demo.score", **order, reachable=False)
    assert call("demo.ship", **order, express=True)["carrier"] == "express"
    assert call("demo.notify", **order, text="x")["text"] == "x"
    assert call("demo.resize", item=1) == call("demo.resize", item=1)
    assert call("demo.provision", customer="acme")["ready"] is False


async def test_the_demo_s_source_goes_on_where_it_was() -> None:
    spec = registry.get("demo.customers")
    assert spec is not None
    ctx = StepContext("t", UUID(int=1), "s", None, 1, {})
    items = [item async for item in spec.function(ctx, count=5, after=3)]
    assert [item.cursor for item in items] == [4, 5]


def test_every_built_in_handler_says_what_it_does() -> None:
    built_in = [spec for spec in registry.all() if spec.name.startswith(("core.", "demo."))]
    assert {"core.echo", "core.sleep", "core.fail", "core.eval", "core.http"} <= {
        s.name for s in built_in
    }
    assert all(spec.function.__doc__ for spec in built_in)


def sample(name: str) -> Definition:
    document = yaml.safe_load((SAMPLES / f"{name}.yaml").read_text())
    return parse_definition(document, handlers=registry.info)


def value(definition: Definition, given: object) -> Any:
    """Run a definition's handlers in order, in this process; all its steps must succeed."""
    scope: dict[str, Any] = {"input": given, "steps": {}, "run": {}, "tenant": {}, "secrets": {}}
    done: set[int] = set()
    while len(done) < len(definition.steps):
        for step in definition.steps:
            if step.ordinal in done or not done.issuperset(step.parents):
                continue
            args = step.args.evaluate(scope)
            assert isinstance(args, dict)
            assert step.handler is not None
            output = call(step.handler, **args)
            scope["steps"][step.name] = {"output": output, "state": "succeeded"}
            done.add(step.ordinal)
    if definition.output is not None:
        return definition.output.evaluate(scope)
    return scope["steps"][definition.steps[definition.leaves[0]].name]["output"]


def test_tutorial() -> None:
    definition = sample("tutorial")
    assert [len(step.parents) for step in definition.steps] == [0, 0, 0, 3]
    assert value(definition, {"user_id": 1})["user_id"] == 1


def test_diamond() -> None:
    definition = sample("diamond")
    assert len(definition.steps) == 7
    assert value(definition, {"x": 2}) == 18446744073709551616


def test_order_process() -> None:
    definition = sample("order-process")
    rules = {step.name: str(step.trigger_rule) for step in definition.steps}
    assert (rules["release"], rules["notify"]) == ("one_failed", "all_done")
    assert next(s for s in definition.steps if s.name == "score").has_on_error_value
    given = {"order_id": 7, "items": [{"price": 3}, {"price": 4.5}]}
    assert value(definition, given) == {"order": 7, "message": "Your order 7 is on its way."}


def test_every_sample_is_tried() -> None:
    assert {file.stem for file in SAMPLES.glob("*.yaml")} == {
        "tutorial",
        "diamond",
        "order-process",
    }
