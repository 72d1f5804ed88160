"""Looking at every rule: a duty of the clock.  What rules saw goes to alerting."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from orchestrator.domain.observations import Observation, Severity, Sight
from orchestrator.domain.slo import Kind, Sums, Verdict, judge
from orchestrator.domain.slo.budget import quantile_of_ended
from orchestrator.domain.slo.replaying import narrowed, window_start
from orchestrator.domain.slo.rules import P95
from orchestrator.domain.slo.words import summary
from orchestrator.selectors.slas import percentile
from orchestrator.selectors.slo_history import within
from orchestrator.services import alerting
from orchestrator.store import Connection, for_a_moment, sla_history, sla_rules, slas
from orchestrator.store import connection as own_connection
from orchestrator.store.sla_rules import Counted, Known, State
from orchestrator.store.slas import Late, Window

logger = logging.getLogger(__name__)

EVERY_S = 5.0
BEHIND_S = 60.0
"""Events that are not counted for longer than this make every verdict doubtful."""
WRITE_S = 30.0
"""How often a state that did not change, or the words of an alert, are written all the same."""
VALUE_S = 60.0
"""How often the percentile of a rule that is good is measured anew."""
VALUES_AT_ONCE = 20
EXAMPLES_AT_ONCE = 5
EXAMPLES = 10
LIMIT_S = 0.5
FAMILY = "sla:"
"""How the names of its rules begin, as alerting knows them."""
GONE = "The rule was deleted, disabled or changed."


@dataclass(slots=True)
class _Look:
    """A rule on its way through a tick."""

    known: Known
    verdict: Verdict | None
    sums: Sums
    error: str | None = None


class Evaluator:
    """Looks at all enabled rules in few statements; a rule that cannot be judged stops no other."""

    def __init__(self) -> None:
        self._valued: dict[int, float] = {}
        self._examples: dict[int, tuple[UUID, ...]] = {}
        self._told: dict[int, tuple[float, Observation]] = {}

    def __call__(self, connection: Connection) -> int:
        """One look; answers how many rules changed their mind."""
        try:
            return self._look(connection)
        except Exception as error:
            if not connection.closed:
                connection.rollback()
                told = _of_evaluator(f"No rule could be evaluated: {type(error).__name__}: {error}")
                alerting.observe([told], connection=connection)
            raise

    def _look(self, connection: Connection) -> int:
        now = slas.now(connection)
        behind_s = slas.behind_s(connection)
        known = sla_rules.rules(connection)
        late = slas.late(connection, [one.id for one in known])
        looks = _judge(connection, known, late, now)
        with for_a_moment():
            values = self._values(looks, late, now)
            self._find_examples(looks, now)
        said = [self._say(look, values, late) for look in looks]
        changed = [
            (state, look.known)
            for (state, _), look in zip(said, looks, strict=True)
            if _is_new(state, look.known, now)
        ]
        slas.write_states(connection, [state for state, _ in changed], now=now)
        seen = [observation for _, observation in said]
        fault = _of_evaluator(_fault(looks, behind_s))
        alerting.observe([*seen, fault], connection=connection)
        # of what was deleted or edited while this looked at it, nobody would see that it is good again
        alerting.settle_others(
            FAMILY, {alerting.key_of(one) for one in seen}, connection=connection, reason=GONE
        )
        self._forget({one.id for one in known})
        return sum(one.state is None or one.state.sight != state.sight for state, one in changed)

    def _say(
        self, look: _Look, values: Mapping[int, float], late: Mapping[int, Late]
    ) -> tuple[State, Observation]:
        """What is written down of a rule, and what alerting sees of it."""
        hung = late.get(look.known.id)
        runs = () if hung is None else hung.run_ids
        try:
            state = _state(look, values.get(look.known.id))
            state.as_json()  # what cannot be written is found here, and not among all rules' states
            return state, self._steady(look.known.id, self._observation(look, state, runs))
        except Exception as error:
            _give_up(look, error)
            state = _state(look, None)
            return state, self._observation(look, state, runs)

    def _values(
        self, looks: Iterable[_Look], late: Mapping[int, Late], now: datetime
    ) -> dict[int, float]:
        """Percentiles, where the value is one: of rules that are bad, and now and then of others."""
        moment = time.monotonic()
        wanted = [
            (look.verdict.sight is not Sight.BAD, self._valued.get(look.known.id, 0.0), nr, look)
            for nr, look in enumerate(looks)
            if look.verdict is not None
            and look.sums.samples
            and look.known.counted is not None
            and look.known.counted.rule.nature.unit == "s"
            and moment - self._valued.get(look.known.id, -VALUE_S)
            >= (5.0 if look.verdict.sight is Sight.BAD else VALUE_S)
        ]
        found: dict[int, float] = {}
        for *_, look in sorted(wanted, key=lambda one: one[:3])[:VALUES_AT_ONCE]:
            known = look.known
            self._valued[known.id] = moment
            assert known.counted is not None
            quantile = quantile_of_ended(P95, look.sums)
            hung = late.get(known.id)
            if quantile > 1.0 and hung is not None:  # it is the age of one that goes on
                found[known.id] = (known.counted.rule.threshold or 0.0) + hung.oldest_s
                continue
            value = percentile(known.counted, share=min(quantile, 1.0), now=now, budget_s=LIMIT_S)
            if value is not None:
                found[known.id] = value
        return found

    def _find_examples(self, looks: Iterable[_Look], now: datetime) -> None:
        """Runs that show it, of rules that have just become bad."""
        fresh = [
            look.known
            for look in looks
            if look.verdict is not None
            and look.verdict.sight is Sight.BAD
            and look.known.id not in self._examples
        ]
        for known in fresh[:EXAMPLES_AT_ONCE]:
            assert known.counted is not None
            since = now - timedelta(seconds=min(known.counted.rule.window_s, 86_400))
            try:
                with within(LIMIT_S):
                    self._examples[known.id] = tuple(
                        sla_history.examples(
                            own_connection(), known.counted, since=since, until=now, most=EXAMPLES
                        )
                    )
            except TimeoutError:
                self._examples[known.id] = ()
        for look in looks:
            if look.verdict is not None and look.verdict.sight is Sight.GOOD:
                self._examples.pop(look.known.id, None)

    def _observation(self, look: _Look, state: State, late: tuple[UUID, ...]) -> Observation:
        known = look.known
        labels = {"sla": known.name} | ({"workflow": known.workflow} if known.workflow else {})
        if look.verdict is None or known.counted is None:
            return Observation(
                known.tenant_id, f"{FAMILY}{known.id}", known.name, Sight.INSUFFICIENT,
                f"It could not be evaluated: {look.error}", labels,
            )  # fmt: skip
        rule = known.counted.rule
        runs = dict.fromkeys((*late, *self._examples.get(known.id, ())))
        return Observation(
            tenant_id=known.tenant_id,
            rule=f"{FAMILY}{known.id}",
            name=known.name,
            sight=look.verdict.sight,
            summary=summary(rule, look.verdict, look.sums, value=state.value),
            labels=labels,
            severity=rule.severity,
            value=state.value,
            threshold=rule.limit,
            unit=rule.nature.unit,
            for_s=rule.for_s,
            clear_for_s=rule.clear_for_s,
            run_ids=tuple(runs)[:EXAMPLES] if look.verdict.sight is Sight.BAD else (),
        )

    def _steady(self, rule_id: int, seen: Observation) -> Observation:
        """What is seen, for a while in the words and numbers of before: each that is new is written into
        the alert, under the tenant's mutex."""
        moment = time.monotonic()
        at, told = self._told.get(rule_id, (moment - WRITE_S, seen))
        same = (told.sight, told.severity) == (seen.sight, seen.severity)
        if same and moment - at < WRITE_S:
            return replace(seen, value=told.value, summary=told.summary, run_ids=told.run_ids)
        self._told[rule_id] = (moment, seen)
        return seen

    def _forget(self, known: set[int]) -> None:
        for kept in (self._valued, self._examples, self._told):
            for gone in kept.keys() - known:
                del kept[gone]


def _judge(
    connection: Connection, known: list[Known], late: Mapping[int, Late], now: datetime
) -> list[_Look]:
    """Each rule's verdict, from the sums of its windows."""
    good = [one.counted for one in known if one.counted is not None]
    asked = [window for one in good for window in _windows(one, now)]
    sums = iter(slas.windows(connection, asked))
    queued = slas.waiting(connection, [one for one in good if one.rule.kind == "queue_latency"])
    looks = []
    for one in known:
        if one.counted is None:
            looks.append(_Look(one, None, Sums(), one.error))
            continue
        hung = late.get(one.id)
        waits = (hung.number if hung else 0) + queued.get(one.id, 0)
        found = [Sums(*next(sums), late=waits) for _ in _windows(one.counted, now)]
        try:
            if one.counted.rule.kind is Kind.THROUGHPUT_FLOOR:
                until, span = int(now.timestamp()), one.counted.rule.window_s
                found = [narrowed(found[0], found[1], until=until, window_s=span)]
            pairs = list(zip(found[1::2], found[2::2], strict=True))
            was_bad = one.state is not None and one.state.was_bad
            verdict = judge(one.counted.rule, found[0], pairs, was_bad=was_bad)
            if verdict.sight is Sight.BAD and not waits and _lacks_past(one, verdict, now):
                verdict = replace(verdict, sight=Sight.INSUFFICIENT)
            looks.append(_Look(one, verdict, found[0]))
        except Exception as error:
            looks.append(_Look(one, None, found[0]))
            _give_up(looks[-1], error)
    return looks


def _lacks_past(known: Known, verdict: Verdict, now: datetime) -> bool:
    """Whether what it misses may have been there before it was counted."""
    assert known.counted is not None
    rule = known.counted.rule
    missed = verdict.no_data or rule.kind is Kind.THROUGHPUT_FLOOR
    since = known.counted_since
    return missed and since is not None and (now - since).total_seconds() < max(rule.spans)


def _give_up(look: _Look, error: Exception) -> None:
    """Note that a rule could not be judged."""
    known = look.known
    logger.error(
        "the rule %s of tenant %s could not be judged", known.name, known.tenant_id, exc_info=error
    )
    look.verdict, look.error = None, f"{type(error).__name__}: {error}"[:500]


def _windows(counted: Counted, now: datetime) -> list[Window]:
    """The rule's own window, then the two of each of its pairs; of a floor (which has none) its own again
    without the first slice."""
    at = int(now.timestamp())
    starts = [window_start(at, span) for span in counted.rule.spans]
    if counted.rule.kind is Kind.THROUGHPUT_FLOOR:
        starts += [(since + width, width) for since, width in starts]
    return [Window(counted.id, width, since) for since, width in starts]


def _state(look: _Look, measured: float | None) -> State:
    known, verdict, before = look.known, look.verdict, look.known.state
    if verdict is None:
        return State(
            known.id, Sight.INSUFFICIENT, before is not None and before.was_bad, None,
            look.sums.total, look.sums.good, look.sums.late, None, [], False, look.error,
        )  # fmt: skip
    value = verdict.value
    if value is None and look.sums.samples:
        value = measured if measured is not None else before.value if before else None
    said = verdict.sight is not Sight.INSUFFICIENT
    return State(
        sla_id=known.id,
        sight=verdict.sight,
        was_bad=verdict.sight is Sight.BAD if said else before is not None and before.was_bad,
        value=value,
        total=look.sums.total,
        good=look.sums.good,
        late=look.sums.late,
        budget=None if verdict.budget is None else round(verdict.budget, 6),
        burns=[[round(rate, 4) for rate in two] for two in verdict.burns],
        no_data=verdict.no_data,
        error=None,
    )


def _is_new(state: State, known: Known, now: datetime) -> bool:
    return known.at is None or (now - known.at).total_seconds() >= WRITE_S or state != known.state


def _fault(looks: list[_Look], behind_s: float) -> str:
    """What is wrong with the evaluation itself; empty: nothing."""
    broken = [look for look in looks if look.verdict is None]
    if broken:
        first = broken[0]
        more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
        return f"The rule {first.known.name}{more} could not be evaluated: {first.error}"
    if behind_s > BEHIND_S:
        return f"Counting events for rules is {behind_s:.0f} s behind."
    return ""


def _of_evaluator(fault: str) -> Observation:
    return Observation(
        tenant_id=None,
        rule="evaluator",
        name="SLA evaluation",
        sight=Sight.BAD if fault else Sight.GOOD,
        summary=fault or "Every rule is evaluated.",
        labels={"part": "slas"},
        severity=Severity.CRITICAL,
        for_s=30.0,
        clear_for_s=30.0,
    )
