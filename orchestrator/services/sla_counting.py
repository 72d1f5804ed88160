"""Counting events for rules: a duty of the clock, beside the rollups and with a cursor of its own."""

from __future__ import annotations

from functools import partial

from orchestrator.services.portions import all_of
from orchestrator.store import Connection, predictions, sla_rules, slas
from orchestrator.store.slas import Stretch

EVENTS_AT_ONCE = 50_000
FINE_KEPT_S = 2 * 86_400
"""How long samples by the minute are kept: twice what any window that is counted by them reaches back."""
KEEP_S = {60: FINE_KEPT_S, 3600: 63 * 86_400}


def count(connection: Connection, limit: int = EVENTS_AT_ONCE) -> int:
    """Count at most about `limit` events that are not counted yet; answers how many it moved past.

    One transaction: samples, awaited runs and cursors change together, so each event counts once.
    Rules are read behind the lock that their edits take."""
    with connection.transaction():
        behind = share(slas.lock_behind(connection), limit)
        if not behind:
            return 0
        known = sla_rules.rules(connection, [one.tenant_id for one in behind])
        rules = [one.counted for one in known if one.counted is not None]
        if rules:
            watched = {one.tenant_id for one in rules}
            stretches = [one for one in behind if one.tenant_id in watched]
            slas.add(connection, slas.count(connection, rules, stretches))
            timed = [one for one in rules if one.rule.nature.per_run]
            slas.follow_runs(connection, timed, stretches)
        slas.move(connection, behind)
    return sum(one.upto - one.after for one in behind)


def share(behind: list[Stretch], limit: int) -> list[Stretch]:
    """Cut the stretches to `limit` events in all: those that are short whole, the rest alike."""
    left, shares = limit, []
    for place, one in enumerate(sorted(behind, key=lambda each: each.upto - each.after)):
        part = min(one.upto - one.after, max(left // (len(behind) - place), 1))
        left -= part
        shares.append(one._replace(upto=one.after + part))
    return shares


def prune(connection: Connection, limit: int = 10_000) -> int:
    """Drop the samples of each width that no window reaches any more, `limit` at a time, and await no
    more runs that are gone; answers how many."""
    return all_of(partial(predictions.sweep, connection, limit=limit)) + sum(
        all_of(partial(slas.prune, connection, width_s=width, age_s=age, limit=limit))
        for width, age in KEEP_S.items()
    )
