"""What rules would have counted in the past: from the events while that is quick, before them from the
rollups."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import transaction
from django.db.utils import OperationalError
from psycopg.errors import QueryCanceled

from orchestrator import store
from orchestrator.conf import conf
from orchestrator.domain.slo import Measure, Slice
from orchestrator.selectors.sketches import Sketch
from orchestrator.selectors.stats import Measured, measure_each
from orchestrator.store import sla_history, slas
from orchestrator.store.sla_rules import Counted
from orchestrator.store.slas import Stretch

MINUTE = 60
HOUR = 3600
DAY = 86_400
CHUNK = 100_000
"""Events that one statement reads."""
MOST_CROSSINGS = 20_000


@dataclass(frozen=True, slots=True)
class History:
    """Samples by minute (unix seconds), and from when to when runs were late that went on.

    It is whole from `since` on; from `exact_since` on it was counted from the events, before from the
    rollups, whose sketches are off by less than 1 %."""

    slices: dict[int, Slice]
    crossings: list[tuple[int, int]]
    since: int
    exact_since: int


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Statements that take longer together are given up, and the caller's transaction goes on.

    Raises TimeoutError."""
    try:
        with transaction.atomic():
            connection = store.connection()
            sla_history.bound(connection, seconds)
            yield
            sla_history.unbound(connection)
    except (OperationalError, QueryCanceled) as error:
        if isinstance(error, QueryCanceled) or isinstance(error.__cause__, QueryCanceled):
            raise TimeoutError from error
        raise


def history(
    rule: Counted, *, since: int, until: int, upto: int | None = None, budget_s: float = 2.0
) -> History:
    """What the rule would have counted from `since` to `until` (unix seconds, whole minutes).

    `upto`: the position of the last event that counts (None: all).  `budget_s`: about how long
    events may be read for.  Labels and freshness are in no rollup: there it reaches only as far back
    as the events that could be read."""
    end = time.monotonic() + budget_s
    connection = store.connection()
    last = sla_history.last_seq(connection, rule.tenant_id) if upto is None else upto
    sums: defaultdict[int, list[int]] = defaultdict(lambda: [0, 0, 0])
    late: list[tuple[int, int]] = []
    exact = _events(rule, since, last, end, sums, late)
    if exact is None:
        exact, whole = since, since
    else:
        for minute in [one for one in sums if one < exact]:
            del sums[minute]  # counted in part
        whole = exact
        if not rule.scope.labels and rule.rule.nature.measure is not Measure.FRESH:
            whole = since
            for found in _rolled(rule, since, exact):
                at = int(found.since.timestamp())
                sums[at] = [*_slice(rule, found)]
    if upto is None and rule.rule.nature.per_run:
        late += _hanging(rule, until, end)
    slices = {at: Slice(*three) for at, three in sums.items() if at < until}
    return History(slices, late, whole, exact)


def _events(
    rule: Counted,
    since: int,
    last: int,
    end: float,
    sums: defaultdict[int, list[int]],
    late: list[tuple[int, int]],
) -> int | None:
    """Count events backwards, chunk by chunk; answers from which minute on they are all counted, or
    None: all that there are since `since`."""
    connection = store.connection()
    kept = sla_history.first_seq(connection, rule.tenant_id, 0)
    if kept is None or last < kept[0]:
        return _none_kept(last, None if kept is None else kept[1])
    first, upto, reached = kept[0] - 1, last, None
    while upto > first:
        after = max(upto - CHUNK, first)
        try:
            with within(max(end - time.monotonic(), 0.05)):
                begun = sla_history.first_seq(connection, rule.tenant_id, after)
                for sample in slas.count(
                    connection, [rule], [Stretch(rule.tenant_id, after, upto)]
                ):
                    three = sums[sample.at]
                    three[0] += sample.total
                    three[1] += sample.good
                    three[2] += sample.clear
                if rule.rule.nature.per_run:
                    room = MOST_CROSSINGS - len(late)
                    found = sla_history.crossings(
                        connection, rule, after=after, upto=upto, most=room
                    )
                    late += [pair[:2] for pair in found for _ in range(pair[2])][:room]
        except TimeoutError:
            break
        assert begun is not None
        reached = int(begun[1].timestamp())
        if reached < since - MINUTE:
            return None
        upto = after
        if time.monotonic() >= end:
            break
    if upto <= first:
        # older events are gone: what the rollups know of that time stays
        return -(-int(kept[1].timestamp()) // MINUTE) * MINUTE if kept[0] > 1 else None
    return (
        int(time.time()) // MINUTE * MINUTE
        if reached is None
        else reached // MINUTE * MINUTE + MINUTE
    )


def _none_kept(last: int, first_at: datetime | None) -> int | None:
    """The same where none of the events up to `last` is kept: what there was, the rollups know.

    `first_at`: when the first one behind them happened; from there on others count."""
    if last == 0:
        return None
    until = time.time() if first_at is None else first_at.timestamp()
    return int(until) // MINUTE * MINUTE


def _rolled(rule: Counted, since: int, until: int) -> list[Measured]:
    if until <= since:
        return []
    wanted = {Measure.QUEUE: ("queue",), Measure.RUN: ("run",), Measure.READY: ("ready",)}
    # minutes are kept for some days, hours for longer
    kept = int(time.time() - (conf().rollup_minute_days - 1) * DAY) // HOUR * HOUR
    middle = min(max(kept, since), until)
    return [
        one
        for first, last, width in ((since, middle, HOUR), (middle, until, MINUTE))
        if first < last
        for one in measure_each(
            tenant_id=rule.tenant_id,
            workflow_ids=rule.scope.workflow_ids or None,
            since=_time(first),
            until=_time(last),
            width_s=width,
            of=wanted.get(rule.rule.nature.measure, ()),
        )
    ]


def _slice(rule: Counted, found: Measured) -> Slice:
    counts = found.counts
    match rule.rule.nature.measure:
        case Measure.RATE:
            return Slice(*(counts.runs_succeeded,) * 3)
        case Measure.OUTCOME:
            good = counts.runs_succeeded
            return Slice(good + counts.runs_failed, good, good)
        case Measure.QUEUE:
            return _below(rule, found.queue)
        case Measure.READY:
            return _below(rule, found.ready)
        case _:
            return _below(rule, found.run)


def _below(rule: Counted, sketch: Sketch) -> Slice:
    """How many of a sketch's values a rule calls good: of few, exactly as many as there are."""
    seconds, clear = rule.rule.seconds, rule.rule.clear_seconds
    assert seconds is not None
    assert clear is not None
    counts = (
        round((sketch.share_below(one * (1 + 1e-9)) or 0.0) * sketch.count)  # the bound is good too
        for one in (seconds, clear)
    )
    return Slice(sketch.count, *counts)


def _hanging(rule: Counted, until: int, end: float) -> list[tuple[int, int]]:
    """Runs that go on and are late, as if they ended a minute after `until`."""
    try:
        with within(max(end - time.monotonic(), 0.2)):
            found = sla_history.hanging(store.connection(), rule, most=MOST_CROSSINGS)
    except TimeoutError:
        return []
    return [
        (since, until + MINUTE)
        for since, number in found
        for _ in range(min(number, MOST_CROSSINGS))
    ]


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
