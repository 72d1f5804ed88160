"""Moving runs on without a worker process: the engine's statements, called by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import uuid4

from orchestrator import store
from orchestrator.executor import control
from orchestrator.executor.plans import Plans
from orchestrator.executor.waits import Means
from orchestrator.handlers import registry
from orchestrator.models import Handler, Worker
from orchestrator.store.work import (
    COMPLETE,
    DECIDE,
    Claimed,
    Completion,
    Verdict,
    _completion_arrays,
    _verdict_arrays,
    exchange,
)

CLAIM = """
SELECT * FROM engine_claim(%s::int, %s::text[], %s::int[], %s::float8[], %s::int, %s::int, %s::bool, %s::bigint)
"""


class Engine:
    """A worker whose handlers are decided by the test.  It has every handler known at `join`."""

    def __init__(self) -> None:
        self.worker: Worker | None = None

    def join(self, *queues: str) -> Worker:
        """Be there: serve these queues (io and cpu unless given)."""
        handlers = list(Handler.objects.values_list("pk", flat=True))
        self.worker = Worker.objects.create(
            name=f"worker-{uuid4().hex[:6]}",
            host="here",
            pid=1,
            queues=list(queues or ("io", "cpu")),
            handler_ids=handlers,
        )
        return self.worker

    def claim(self, want: int = 100, *, alone: bool | None = None) -> list[Claimed]:
        """Take what may run; `alone`: what was lost before, too (else: where anything is wanted)."""
        worker = self.worker or self.join()
        rows = store.connection().execute(
            CLAIM,
            (
                worker.pk,
                worker.queues,
                worker.handler_ids,
                [0.01] * len(worker.handler_ids),
                want,
                want,
                want > 0 if alone is None else alone,
                1_000_000,
            ),
        )
        return [Claimed(*row) for row in rows.fetchall()]

    def complete(self, *completions: Completion) -> None:
        """Write what became of claims."""
        assert self.worker is not None
        store.connection().execute(COMPLETE, _completion_arrays(self.worker.pk, completions))

    def complete_on(self, connection: store.Connection, completion: Completion) -> None:
        """The same on another connection."""
        assert self.worker is not None
        connection.execute(COMPLETE, _completion_arrays(self.worker.pk, [completion]))

    def verdict(self, claim: Claimed, verdict: str, value: str | None = None) -> None:
        """Write what became of control work."""
        store.connection().execute(DECIDE, _verdict_arrays([Verdict(claim, verdict, value)]))

    def run_conditions(self) -> None:
        """Claim until nothing is left: every condition holds, every step succeeds."""
        while claims := self.claim():
            for claim in claims:
                if claim.kind == "step":
                    self.succeed([claim])
                else:
                    self.verdict(claim, "ready")

    def succeed(self, claims: Sequence[Claimed], output: object = None) -> None:
        """End claims well."""
        text = json.dumps(output)
        self.complete(*(Completion(c, "succeeded", 0.1, output=text) for c in claims))

    def fail(self, claim: Claimed, *, retry_in_s: float | None = None, message: str = "no") -> None:
        """End a claim badly, for good or until a retry."""
        error = json.dumps({"code": "error", "message": message, "type": "ValueError"})
        if retry_in_s is None:
            self.complete(Completion(claim, "failed", 0.1, error=error))
        else:
            self.complete(
                Completion(claim, "waiting", 0.1, error=error, reason="retry", delay_s=retry_in_s)
            )

    def decide(self) -> None:
        """Do the control work that waits: conditions, what maps go over, outputs of runs."""
        claimed = self.claim(0)
        plans = Plans(registry)
        means = Means(store.connection, plans, 100_000)
        plans.need(store.connection(), [one.version_id for one in claimed])
        verdicts = [control.decide(plans.get(c.version_id), c, means) for c in claimed]
        assert self.worker is not None
        exchange(store.connection(), self.worker.pk, [], verdicts, None)

    def run_all(self, output: object = None) -> None:
        """Claim and succeed until nothing is left."""
        while claims := self.claim():
            self.succeed(claims, output)
