"""What rules come to, by what was counted for them, and what becomes of those that cannot be judged."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from orchestrator import metrics, store
from orchestrator.domain.observations import Sight
from orchestrator.models import Alert, Sla
from orchestrator.selectors import slo_history
from orchestrator.selectors.sla_metrics import sla_samples
from orchestrator.services import alerting, evaluating, sla_counting
from orchestrator.store import sla_rules
from tenants.models import Tenant
from tests.api.client import Api
from tests.slas.conftest import Clock, Past, gathering

Make = Callable[..., dict[str, Any]]


def test_too_few_samples_and_none(make: Make, past: Past, clock: Clock, now: datetime) -> None:
    make("few", "success_ratio", min_samples=3)
    for policy in ("ok", "bad", "keep"):
        make(policy, "success_ratio", labels={"none": "such"}, no_data=policy)
    past.run(now, state="failed")
    seen = clock.look()
    assert {name: seen[name].sight for name in ("few", "ok", "bad", "keep")} == {
        "few": Sight.INSUFFICIENT, "ok": Sight.GOOD, "bad": Sight.BAD, "keep": Sight.INSUFFICIENT,
    }  # fmt: skip
    past.run(now, state="failed")
    past.run(now, state="failed")
    assert clock.look()["few"].sight is Sight.BAD


def test_a_floor_waits_for_what_could_not_be_counted(
    make: Make, past: Past, clock: Clock, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    floor = {"threshold": "1/1h", "window": "1h", "labels": {"a": "b"}}
    make("known", "throughput_floor", **floor)
    monkeypatch.setattr(slo_history, "_events", lambda *_: int(now.timestamp()) // 60 * 60)
    make("new", "throughput_floor", **floor)
    seen = clock.look()
    assert (seen["known"].sight, seen["new"].sight) == (Sight.BAD, Sight.INSUFFICIENT)
    Sla.objects.update(counted_since=now - timedelta(hours=2))
    assert clock.look()["new"].sight is Sight.BAD


def test_a_floor_counts_no_more_than_its_window(
    make: Make, past: Past, clock: Clock, now: datetime
) -> None:
    """A window is counted in whole minutes: of the first one its share alone, or a rate of half the floor
    would pass as good at every minute's end, and with a `for` never be told."""
    begin = now.replace(second=0, microsecond=0)
    make("floor", "throughput_floor", threshold="10/1m", window="1m")
    Sla.objects.update(counted_since=now - timedelta(days=2))
    for second in range(0, 60, 10):
        past.run(begin - timedelta(seconds=60 - second))
    clock.count()
    seen: dict[int, dict[str, Any]] = {}
    for second in (0, 30, 59, 60):
        at = begin + timedelta(seconds=second)
        known = sla_rules.rules(store.connection())
        looks = evaluating._judge(store.connection(), known, {}, at)
        seen[second] = {look.known.name: look.verdict for look in looks}
    values = {second: found["floor"].value * 60 for second, found in seen.items()}
    assert values == {0: 6, 30: 3, 59: 1, 60: 0}


def test_what_was_bad_needs_its_clear_threshold(
    make: Make, past: Past, clock: Clock, now: datetime
) -> None:
    make("plain", "success_ratio", target=0.5)
    make("wide", "success_ratio", target=0.5, clear_threshold=0.8)
    past.run(now, state="failed")
    assert clock.look()["wide"].sight is Sight.BAD
    past.run(now)
    seen = clock.look()
    assert (seen["plain"].sight, seen["wide"].sight) == (Sight.GOOD, Sight.BAD)
    before = seen["wide"]
    past.run(now)
    assert clock.look()["wide"] == before, "an alert is not written anew at every look"
    for _ in range(2):
        past.run(now)
    assert clock.look()["wide"].sight is Sight.GOOD


def test_windows_leave_what_is_older(make: Make, past: Past, clock: Clock, now: datetime) -> None:
    past.run(now - timedelta(hours=2), state="failed")
    past.run(now)
    make("hour", "success_ratio", target=0.9)
    make("day", "success_ratio", target=0.9, window="1d")
    seen = clock.look()
    assert (seen["hour"].sight, seen["day"].sight) == (Sight.GOOD, Sight.BAD)
    assert (seen["hour"].value, seen["day"].value) == (1.0, 0.5)


def test_burn_rates_need_both_windows(
    make: Make, api: Api, past: Past, clock: Clock, now: datetime
) -> None:
    burn = [{"long": "1h", "short": "5m", "factor": 2}]
    make("burns", "success_ratio", target=0.5, window="1d", burn=burn)
    for _ in range(3):
        past.run(now - timedelta(minutes=30), state="failed")
    assert clock.look()["burns"].sight is Sight.GOOD, "it is over"
    past.run(now, state="failed")
    seen = clock.look()["burns"]
    assert seen.sight is Sight.BAD
    assert "burns 2.0 times" in seen.summary
    (pair,) = api.get("/slas/burns").body["status"]["burn"]
    assert pair == {
        "long": "1h", "short": "5m", "factor": 2.0, "long_rate": 2.0, "short_rate": 2.0,
        "burning": True,
    }  # fmt: skip


def test_one_rule_that_is_broken_stops_no_other(
    make: Make, past: Past, clock: Clock, api: Api, now: datetime
) -> None:
    make("broken", "success_ratio")
    make("fine", "success_ratio")
    Sla.objects.filter(name="broken").update(burn=["nonsense"])
    past.run(now, state="failed")
    seen = clock.look()
    assert seen["fine"].sight is Sight.BAD
    assert seen["broken"].sight is Sight.INSUFFICIENT
    told = seen["SLA evaluation"]
    assert (told.rule, told.tenant_id, told.sight) == ("evaluator", None, Sight.BAD)
    assert "broken could not be evaluated" in told.summary
    Sla.objects.filter(name="broken").update(burn=[[3600, 300, 2]], target=float("nan"))
    past.run(now, state="failed")
    seen = clock.look()
    assert (seen["fine"].sight, seen["broken"].sight) == (Sight.BAD, Sight.INSUFFICIENT)
    assert "JSON" in seen["SLA evaluation"].summary, "of a number that cannot be written too"
    Sla.objects.filter(name="broken").update(burn=[], target=0.9)
    assert clock.look()["SLA evaluation"].sight is Sight.GOOD


def test_a_rule_that_goes_while_it_is_looked_at_leaves_no_alert(
    make: Make, api: Api, past: Past, clock: Clock, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("gone", "success_ratio")
    make("narrowed", "success_ratio", workflows=["echo"])
    past.run(now, state="failed")
    clock.count()

    def meanwhile(*_: object) -> None:
        assert api.delete("/slas/gone").status == 204
        assert api.put("/slas/narrowed", {"kind": "success_ratio"}).status == 200

    with monkeypatch.context() as patch:
        patch.setattr(clock.evaluator, "_find_examples", meanwhile)
        clock.evaluator(store.connection())
    assert set(Alert.objects.values_list("name", "state")) == {
        ("gone", "firing"),
        ("narrowed", "firing"),
    }
    clock.evaluator(store.connection())
    left = Alert.objects.get(state="firing")
    assert (left.name, left.workflow) == ("narrowed", None)
    assert Alert.objects.filter(state="resolved").count() == 2


def test_the_evaluators_own_failure_is_told(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("a", "success_ratio")
    told: list[Any] = []
    monkeypatch.setattr(alerting, "observe", gathering(told))
    monkeypatch.setattr(evaluating, "_judge", lambda *_: 1 / 0)
    with store.connect(name="test") as connection, pytest.raises(ZeroDivisionError):
        clock.evaluator(connection)
    (one,) = told
    assert (one.rule, one.sight) == ("evaluator", Sight.BAD)


def test_counting_that_is_behind_is_told(
    make: Make, past: Past, clock: Clock, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("a", "success_ratio")
    past.run(now - timedelta(minutes=5))
    monkeypatch.setattr(sla_counting, "count", lambda _: 0)
    told = clock.look()["SLA evaluation"]
    assert told.sight is Sight.BAD
    assert "behind" in told.summary


def test_a_percentile_has_its_value_in_seconds(
    make: Make, past: Past, clock: Clock, now: datetime
) -> None:
    make("p95", "p95_threshold", threshold="10s", labels={"a": "b"})
    make("tenants", "p95_threshold", threshold="10s")
    for _ in range(20):
        past.run(now, 20.0, labels={"a": "b"})
    seen = clock.look()["p95"]
    assert (seen.sight, seen.unit, seen.threshold) == (Sight.BAD, "s", 10.0)
    assert seen.value == pytest.approx(20.0)


def test_metrics_say_what_rules_came_to(
    make: Make, tenant: Tenant, past: Past, clock: Clock, now: datetime
) -> None:
    make("good", "success_ratio", target=0.5)
    make("bad", "success_ratio", target=0.9)
    make("floor", "throughput_floor", threshold="1/1h")
    for state in ("succeeded", "succeeded", "succeeded", "failed"):
        past.run(now, state=state)
    clock.look()
    found = dict(sla_samples(store.connection(), {tenant.slug: tenant.slug}))
    assert sorted(found[metrics.SLA_RULES]) == [
        ((tenant.slug, "bad"), 1),
        ((tenant.slug, "good"), 2),
    ]
    assert found[metrics.SLA_LATE_RUNS] == [((tenant.slug,), 0)]
    assert found[metrics.SLA_BUDGET_LEFT] == [
        ((tenant.slug, "good"), 0.5), ((tenant.slug, "bad"), -1.5),
    ]  # fmt: skip
    assert found[metrics.SLA_BEHIND] == [((), 0.0)]
    others = dict(sla_samples(store.connection(), {}))
    assert others[metrics.SLA_BUDGET_LEFT] == []
    assert sorted(others[metrics.SLA_RULES]) == [(("other", "bad"), 1), (("other", "good"), 2)]
