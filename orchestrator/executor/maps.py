"""Maps: from `over` to batches, from a claimed batch to its calls, from their results to what is written.

No threads, no database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from orchestrator.domain import jsonvalue
from orchestrator.domain.definition import Call, MapSpec
from orchestrator.domain.expressions import ExpressionFailed
from orchestrator.domain.maps import make_packs, packs_text
from orchestrator.domain.retries import backoff
from orchestrator.executor import invoke
from orchestrator.executor.gates import Held
from orchestrator.executor.items import ItemCalls, is_failure
from orchestrator.executor.plans import Plan, StepPlan
from orchestrator.executor.reading import Read
from orchestrator.handlers import Continue, Retry, Skip, Snooze
from orchestrator.store.work import Claimed, Completion, Verdict

TOLD = 100
"""Failed items of a batch that are kept with their messages."""


# -- the beginning -------------------------------------------------------------------------------


def begin(plan: Plan, claimed: Claimed, *, max_bytes: int) -> Verdict:
    """What a map goes over, for `engine_map_begin`.  Raises Fault: expression, invalid_output."""
    step = plan.steps[claimed.ordinal]
    spec = step.step.map
    assert spec is not None
    head: dict[str, object] = {
        "batch_size": spec.batch_size,
        "max_in_flight": spec.max_in_flight,
        "mode": spec.on_error,
        "max_failures": spec.max_failures,
        "ordered": spec.ordered,
        "collect": spec.collect,
        "max_bytes": max_bytes,
    }
    if isinstance(spec.over, Call):
        assert step.source is not None
        queue = step.source.step.queue
        head |= {"total": 0, "source": spec.over.handler, "queue": queue, "packs": []}
        return Verdict(claimed, "map", jsonvalue.encode(head))
    items = _items(plan, claimed, spec)
    try:
        packs = packs_text(
            make_packs(
                items,
                batch_size=spec.batch_size,
                array=lambda part: jsonvalue.encode(part, max_bytes=max_bytes),
            )
        )
    except (jsonvalue.NotJson, jsonvalue.TooBig) as error:
        raise invoke.Fault("invalid_output", f"map.over: {error}", retry=False) from None
    if len(packs) > max_bytes + 16 * len(items):
        message = f"map.over: the items are larger than {max_bytes} bytes of JSON; stream them"
        raise invoke.Fault("invalid_output", message, retry=False)
    text = jsonvalue.encode({**head, "total": len(items)})
    return Verdict(claimed, "map", f'{text[:-1]},"packs":{packs}}}')


def _items(plan: Plan, claimed: Claimed, spec: MapSpec) -> list[object]:
    assert not isinstance(spec.over, Call)
    try:
        items = spec.over.evaluate(invoke.scope(plan, claimed))
    except ExpressionFailed as error:
        raise invoke.Fault("expression", f"map.over: {error}", retry=False) from None
    if not isinstance(items, (list, tuple)):
        message = f"map.over must give a list, not {_kind(items)}"
        raise invoke.Fault("expression", message, retry=False)
    if claimed.mask.shows(list(items)):
        message = "map.over: a secret is in an item, and items are kept; name it in args"
        raise invoke.Fault("expression", message, retry=False)
    return list(items)


def _kind(value: object) -> str:
    words = {dict: "an object", str: "text", bool: "a boolean", type(None): "null"}
    return words.get(type(value), "a number")


# -- a claim -------------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Batch:
    """A claimed batch.  `done` (JSON texts) and `failed` (errors) are what earlier attempts left;
    `missed`: how many of those that counted an item sat out, for its host was held off."""

    items: list[object]
    """Each is handed out at most once, and may be another after that."""
    first: int
    done: dict[int, str]
    failed: dict[int, dict[str, object]]
    missed: dict[int, int]
    calls: ItemCalls | None = None
    """None: the handler takes the whole list."""

    def attempt(self, claimed: Claimed, at: int) -> int:
        """Which attempt of its own this is for an item."""
        return claimed.attempts + 1 - self.missed.get(at, 0)


def open_batch(step: StepPlan, claimed: Claimed) -> Batch:
    """The batch with its items, as its row keeps them."""
    assert step.step.map is not None
    kept = _row(claimed)
    return Batch(
        items=kept["items"],
        first=(claimed.batch - 1) * step.step.map.batch_size,
        done={int(at): jsonvalue.encode(value) for at, value in kept.get("done", {}).items()},
        failed={int(at): error for at, error in kept.get("failed", {}).items()},
        missed={int(at): count for at, count in kept.get("missed", {}).items()},
    )


def _row(claimed: Claimed) -> dict[str, Any]:
    """What a batch's row keeps (see `_kept`)."""
    return cast("dict[str, Any]", jsonvalue.stored(claimed.args or '{"items":[]}'))


def prepare(plan: Plan, step: StepPlan, claimed: Claimed, batch: Batch) -> dict[str, object]:
    """The arguments of a handler that takes the list; of any other none, and `batch.calls` instead.

    Raises Fault for what holds for every item: expression, invalid_arguments."""
    template, spec = step.step.args, step.step.map
    assert spec is not None
    handler = invoke.known(step)
    uses_item = "item" in template.roots
    scope = {} if template.is_constant else invoke.scope(plan, claimed)
    items = batch.items
    if handler.batch:
        handed = list(items)  # a handler may use its list up
        args = invoke.evaluate(template, {**scope, "item": handed})
        return invoke.checked(step, args if uses_item else {**args, "items": handed})

    arguments: Callable[[int], dict[str, object]]
    if uses_item:
        shares = template.roots != {"item"}

        def arguments(place: int) -> dict[str, object]:
            found = invoke.evaluate(template, {**scope, "item": items[place]})
            return invoke.checked(step, _apart(found) if shares else found)
    else:
        common = invoke.evaluate(template, scope)
        invoke.checked(step, {**common, "item": None})

        def arguments(place: int) -> dict[str, object]:
            return {**_apart(common), "item": items[place]}

    batch.calls = ItemCalls(
        first=batch.first,
        places=[at for at in range(len(items)) if at not in batch.done and at not in batch.failed],
        arguments=arguments,
        stop_at_failure=spec.on_error == "fail_fast",
        is_final=lambda at, error: not invoke.retries(step, batch.attempt(claimed, at), error),
    )
    return {}


def _apart(args: dict[str, object]) -> dict[str, object]:
    """Arguments for one item alone: what its handler changes in them no other item sees."""
    if any(isinstance(value, (dict, list)) for value in args.values()):
        return cast("dict[str, object]", jsonvalue.copied(args))
    return args


def prepare_read(plan: Plan, source: StepPlan, claimed: Claimed, max_bytes: int) -> Read:
    """The reading of a chunk.  Raises Fault: expression, invalid_arguments."""
    assert source.step.map is not None
    position = cast("dict[str, Any]", jsonvalue.stored(claimed.args or "{}"))
    template = source.step.args
    scope = {} if template.is_constant else invoke.scope(plan, claimed)
    args = invoke.evaluate(template, scope)
    resumes = "after" in invoke.known(source).parameters and "after" not in args
    if resumes:
        args = {**args, "after": position["cursor"]}
    return Read(
        args=invoke.checked(source, args),
        stored=position["total"],
        batch_size=source.step.map.batch_size,
        resumes=resumes,
        max_item_bytes=max_bytes,
        mask=claimed.mask,
    )


# -- results -------------------------------------------------------------------------------------


def conclude(
    step: StepPlan,
    claimed: Claimed,
    batch: Batch,
    result: object,
    *,
    seconds: float,
    max_bytes: int,
) -> Completion:
    """What an attempt of a batch comes to.  `result` is the list of a handler that takes lists, or
    an exception, which is that of every item that has no result of its own."""
    spec = step.step.map
    assert spec is not None
    if batch.calls is None:
        outcomes = _whole(batch, result)
    else:
        outcomes = dict(batch.calls.results)  # a copy: code that was cut off may still write
        if isinstance(result, BaseException):
            outcomes |= {at: result for at in batch.calls.places if at not in outcomes}
    if output := _plain(spec, batch, outcomes, max_bytes):
        return Completion(claimed, "succeeded", seconds, output=output)
    texts = dict(batch.done)
    failed = dict(batch.failed)
    again: dict[int, BaseException] = {}
    for at, outcome in outcomes.items():
        text = _text(outcome, spec.collect, max_bytes)
        if isinstance(text, str):
            texts[at] = text
        elif isinstance(text, Snooze) or invoke.retries(step, batch.attempt(claimed, at), text):
            again[at] = text
        else:
            failed[at] = cast(
                "dict[str, object]", jsonvalue.stored(invoke.describe(text, claimed.mask))
            )
    if failed and spec.on_error == "fail_fast":
        done = Completion(claimed, "failed", seconds, error=_error(batch, failed))
    elif again:
        return _again(step, claimed, batch, texts, failed, again, seconds)
    else:
        done = _ended(spec, claimed, batch, texts, failed, seconds)
    if failed and step.step.compensate is not None:
        # which may have the failed ones tried again
        done.args = _kept(claimed, batch, texts, {})
    return done


def _plain(
    spec: MapSpec, batch: Batch, outcomes: Mapping[int, object], max_bytes: int
) -> str | None:
    """The output of a batch whose every item has a result, encoded at once: the usual case."""
    if not spec.collect or len(outcomes) < len(batch.items):
        return None
    if any(isinstance(found, (BaseException, invoke.Encoded)) for found in outcomes.values()):
        return None
    order = range(len(batch.items)) if spec.ordered else outcomes
    try:
        return jsonvalue.encode([outcomes[at] for at in order], max_bytes=max_bytes)
    except (jsonvalue.NotJson, jsonvalue.TooBig):
        return None  # one by one, to find whose result it is


def _text(outcome: object, collect: bool, max_bytes: int) -> str | BaseException:
    """An item's result as JSON text (empty where only counts are kept), or its failure."""
    if isinstance(outcome, invoke.Encoded):
        return outcome.text
    if isinstance(outcome, Continue):
        return _text(outcome.value, collect, max_bytes)
    if isinstance(outcome, Skip):
        return "null"
    if isinstance(outcome, BaseException):
        return outcome
    try:
        return jsonvalue.encode(outcome, max_bytes=max_bytes) if collect else ""
    except (jsonvalue.NotJson, jsonvalue.TooBig) as error:
        message = f"the result cannot be kept: {error}"
        return invoke.Fault("invalid_output", message, retry=False)


def _whole(batch: Batch, result: object) -> dict[int, object]:
    """The outcomes of a handler that takes the list."""
    if isinstance(result, Continue):
        result = result.value
    if isinstance(result, invoke.Encoded):
        result = jsonvalue.stored(result.text)
    if isinstance(result, BaseException):
        return dict.fromkeys(range(len(batch.items)), result)
    if isinstance(result, (list, tuple)) and len(result) == len(batch.items):
        return dict(enumerate(result))
    count = f"{len(result)} results" if isinstance(result, (list, tuple)) else "no list"
    message = (
        f"a handler of lists answers one result per item: {count} for {len(batch.items)} items"
    )
    return dict.fromkeys(
        range(len(batch.items)), invoke.Fault("invalid_output", message, retry=False)
    )


def _again(
    step: StepPlan,
    claimed: Claimed,
    batch: Batch,
    texts: Mapping[int, str],
    failed: Mapping[int, dict[str, object]],
    again: Mapping[int, BaseException],
    seconds: float,
) -> Completion:
    """Another attempt, of the items that have no result; the others keep theirs.  Those whose host
    is held off used none."""
    delays = [found for error in again.values() if (found := _asked_s(error)) is not None]
    failures = [error for error in again.values() if is_failure(error)]
    held = [at for at, error in again.items() if isinstance(error, Held)]
    if failures:
        for at in held:
            batch.missed[at] = batch.missed.get(at, 0) + 1
    if len(delays) < len(again):
        delays.append(
            backoff(step.step.retry, claimed.attempts + 1, rng=invoke.RNG).total_seconds()
        )
    return Completion(
        claimed,
        "waiting",
        seconds,
        error=invoke.describe(failures[0], claimed.mask) if failures else None,
        reason="breaker" if held else "retry" if failures else "snooze",
        args=_kept(claimed, batch, texts, failed),
        delay_s=max(delays),
        counts=bool(failures),
    )


def _kept(
    claimed: Claimed,
    batch: Batch,
    texts: Mapping[int, str],
    failed: Mapping[int, dict[str, object]],
) -> str:
    """What a batch's row keeps for its next attempt; its items as the row has them, for the handler may
    have changed those it was given."""
    mask, items = claimed.mask, _row(claimed)["items"]
    done = ",".join(f'"{at}":{mask.json(text) if text else "null"}' for at, text in texts.items())
    kept: dict[str, object] = {"failed": {str(at): error for at, error in failed.items()}}
    if batch.missed:
        kept["missed"] = {str(at): count for at, count in batch.missed.items()}
    return f'{{"items":{jsonvalue.encode(items)},"done":{{{done}}},{jsonvalue.encode(kept)[1:]}'


def _asked_s(error: BaseException) -> float | None:
    """The delay that the handler asked for, or that its host is held off for."""
    if isinstance(error, Held):
        return error.left_s()
    if isinstance(error, Snooze):
        return error.for_.total_seconds()
    if isinstance(error, Retry) and error.after is not None:
        return error.after.total_seconds()
    return None


def _ended(
    spec: MapSpec,
    claimed: Claimed,
    batch: Batch,
    texts: Mapping[int, str],
    failed: Mapping[int, dict[str, object]],
    seconds: float,
) -> Completion:
    """Every item has a result or has failed for good."""
    error = _error(batch, failed) if failed else None
    if len(failed) == len(batch.items):
        return Completion(claimed, "failed", seconds, error=error)
    output = None
    if spec.collect:
        everything = {**texts, **dict.fromkeys(failed, "null")}
        order = range(len(batch.items)) if spec.ordered else everything
        output = f"[{','.join([everything[at] for at in order])}]"
    return Completion(
        claimed, "succeeded", seconds, output=output, error=error, handled=bool(failed)
    )


def _error(batch: Batch, failed: Mapping[int, dict[str, object]]) -> str:
    """The first failed item's error, with its place and those of the others."""
    places = sorted(failed)
    items = [
        {
            "item_index": batch.first + at,
            "code": failed[at]["code"],
            "message": failed[at]["message"],
        }
        for at in places[:TOLD]
    ]
    about = {"item_index": batch.first + places[0], "failed": len(failed), "items": items}
    return jsonvalue.encode({**failed[places[0]], **about})
