"""Batches of `core.http` behind their gate: which items are called, which wait, what the breaker is told."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from orchestrator.executor import maps
from orchestrator.executor.gates import Gate
from orchestrator.executor.invoke import Reported
from orchestrator.executor.plans import Plan, Plans
from orchestrator.handlers import StepContext, registry
from orchestrator.store.work import Claimed, Completion

GOOD, BAD = "http://good.example/", "http://bad.example/"
FAILURES = 3
PAUSE_S = 60.0


class Tried:
    """A batch of calls, tried as often as the test wants, with a handler that the test decides."""

    def __init__(self, urls: list[Any], **step: Any) -> None:
        call = {"name": "m", "handler": "core.http", "args": {"url": "${{ item }}"}, **step}
        call["map"] = {"over": "${{ input.x }}", "batch_size": 10_000, "on_error": "continue"}
        document = json.dumps({"name": "w", "steps": [call]})
        self.plan: Plan = Plans(registry)._build("t", document)
        self.claimed = Claimed("step", 1, uuid4(), 0, 1, 1, 1, 0, 0, False,
                               json.dumps({"items": urls}), None, "{}", None, None, None, None, False)  # fmt: skip
        self.asked: list[str] = []
        self.told: list[tuple[str, bool, bool]] = []
        self.down = True

    async def _call(self, ctx: StepContext, *, url: str) -> str:
        self.asked.append(url)
        await asyncio.sleep(0)
        if self.down and url == BAD:
            raise TimeoutError("no answer")
        return url

    def gate(self, *troubled: str) -> Gate:
        return Gate(
            lambda *news: self.told.append(news),
            failures=FAILURES, pause_s=PAUSE_S, troubled=frozenset(troubled),
        )  # fmt: skip

    def attempt(self, gate: Gate) -> Completion:
        """One attempt; what it leaves is what the next one finds."""
        step, claimed = self.plan.steps[0], self.claimed
        assert step.spec is not None
        batch = maps.open_batch(step, claimed)
        maps.prepare(self.plan, step, claimed, batch)
        assert batch.calls is not None
        batch.calls.gate = gate
        context = StepContext("t", UUID(int=1), "m", 0, claimed.attempts + 1, {})
        self.asked.clear()
        asyncio.run(batch.calls.run_async(replace(step.spec, function=self._call), context))
        done = maps.conclude(step, claimed, batch, None, seconds=0.1, max_bytes=1_000_000)
        attempts = claimed.attempts + done.counts
        self.claimed = claimed._replace(args=done.args or claimed.args, attempts=attempts)
        return done


def test_items_whose_host_is_held_off_wait_and_the_others_are_done_once() -> None:
    tried = Tried([GOOD, BAD, GOOD, BAD])
    gate = tried.gate("bad.example")
    gate.hold("bad.example", 30)
    done = tried.attempt(gate)
    assert tried.asked == [GOOD, GOOD]
    assert (done.outcome, done.reason, done.counts, done.error) == (
        "waiting",
        "breaker",
        False,
        None,
    )
    assert 29 < (done.delay_s or 0) <= 30
    tried.down = False
    done = tried.attempt(tried.gate())
    assert (tried.asked, done.outcome) == ([BAD, BAD], "succeeded")
    assert json.loads(done.output or "") == [GOOD, BAD, GOOD, BAD]
    assert tried.told == []


def test_one_item_tries_a_host_and_the_others_wait_for_what_comes_of_it() -> None:
    tried = Tried([BAD, BAD, BAD], retry={"max_attempts": 2, "delay": 0})
    for _ in range(2):
        gate = tried.gate("bad.example")
        gate.try_once("bad.example")
        gate.hold("bad.example", 5)
        done = tried.attempt(gate)
        assert (tried.asked, done.reason) == ([BAD], "breaker")
        assert tried.told.pop() == ("bad.example", False, True)
        assert PAUSE_S - 1 < (done.delay_s or 0) <= PAUSE_S
    tried.down = False
    gate = tried.gate("bad.example")
    gate.try_once("bad.example")
    done = tried.attempt(gate)
    assert tried.told == [("bad.example", True, True)]
    assert (done.reason, done.delay_s, done.counts) == ("breaker", 0, False), (
        "the others go at once"
    )
    done = tried.attempt(tried.gate())
    assert (done.outcome, tried.asked) == ("succeeded", [BAD])
    assert json.loads(done.output or "") == [None, BAD, BAD], "the first one had its two attempts"


def test_a_circuit_that_opens_while_the_batch_runs_spares_what_has_not_begun() -> None:
    tried = Tried([BAD] * 200)
    done = tried.attempt(tried.gate())
    begun = len(tried.asked)
    assert FAILURES <= begun < 20
    assert tried.told == [("bad.example", False, False)] * FAILURES, (
        "no more is said than is needed"
    )
    assert (done.outcome, done.reason, done.counts) == ("waiting", "breaker", False)
    tried.down = False
    done = tried.attempt(tried.gate())
    assert (done.outcome, len(tried.asked)) == ("succeeded", 200 - begun)


def test_an_item_that_sat_out_has_all_its_attempts() -> None:
    tried = Tried([GOOD, BAD], retry={"max_attempts": 2, "delay": 0})
    tried.down = False

    async def fails(ctx: StepContext, *, url: str) -> str:
        tried.asked.append(url)
        if url == GOOD and len(tried.told) == 0:
            tried.told.append(("", True, False))
            raise ValueError("no")
        if url == BAD and len(tried.told) < 2:
            tried.told.append(("", True, False))
            raise ValueError("no")
        return url

    tried._call = fails  # type: ignore[method-assign]
    gate = tried.gate()
    gate.hold("bad.example", 5)
    done = tried.attempt(gate)
    assert (done.reason, done.counts, tried.asked) == ("breaker", True, [GOOD])
    done = tried.attempt(tried.gate())
    assert (done.outcome, done.reason, tried.asked) == ("waiting", "retry", [GOOD, BAD])
    done = tried.attempt(tried.gate())
    assert (done.outcome, tried.asked) == ("succeeded", [BAD])
    assert json.loads(done.output or "") == [GOOD, BAD]


def test_an_answer_after_failures_is_told_and_what_is_unknown_is_not() -> None:
    tried = Tried([])
    gate = tried.gate("bad.example")
    gate.leave(gate.enter({"url": GOOD}), "well")
    gate.leave(gate.enter({"url": None}), "well")
    gate.leave(gate.enter({"url": BAD}), ValueError("of our own"))
    assert tried.told == []
    gate.leave(gate.enter({"url": BAD}), Reported("HttpFailed", "404", ("HttpFailed",), ""))
    gate.leave(gate.enter({"url": BAD}), "well")
    assert tried.told == [("bad.example", True, False)]


@pytest.mark.parametrize("kind", ["late", "in time"])
def test_calls_that_had_not_ended_at_a_timeout_count(kind: str) -> None:
    tried = Tried([])
    gate = tried.gate()
    ticket = gate.enter({"url": BAD})
    if kind == "in time":
        gate.leave(ticket, "well")
    gate.timed_out()
    assert tried.told == ([("bad.example", False, False)] if kind == "late" else [])


def test_a_helper_process_is_not_sent_what_is_held() -> None:
    tried = Tried([GOOD, BAD])
    step, claimed = tried.plan.steps[0], tried.claimed
    batch = maps.open_batch(step, claimed)
    maps.prepare(tried.plan, step, claimed, batch)
    assert batch.calls is not None
    batch.calls.gate = tried.gate()
    batch.calls.gate.hold("bad.example", 5)
    assert batch.calls.message()["calls"] == [[0, {"url": GOOD}]]
    assert set(batch.calls.results) == {1}
