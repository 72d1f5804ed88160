"""Who has a label in metrics; no counter ever falls."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator import store
from orchestrator.services import rollups
from orchestrator.store import gauges
from tenants.models import TenantDatabase
from tests.stats.conftest import Shop

Open = Callable[[str], Shop]
NUMBERS = itertools.count()


@pytest.fixture(autouse=True)
def _two_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "TENANTS_AT_MOST", 2)


def labels() -> set[str]:
    return {one.slug for one in gauges.tenants(store.connection()) if one.own}


def served() -> dict[str, gauges.Totals]:
    return {one.slug or "other": one for one in gauges.totals(store.connection())}


def work(shop: Shop, at: datetime, attempts: int) -> None:
    shop.tell(at, [("step.running", 0.3)] * attempts)
    while rollups.roll():
        pass


def test_newcomers_have_a_label_while_there_is_room(open_shop: Open, noon: datetime) -> None:
    shops = [open_shop(slug) for slug in ("acme", "beta", "gamma")]
    for shop in shops:
        work(shop, noon, 5)
    assert labels() == {"acme", "beta"}
    seen = served()
    assert seen["other"].counts["attempts"] == 5
    assert seen["other"].histograms["queue"][0][-1] == 5
    assert seen["other"].histograms["queue"][1] == pytest.approx(1.5)
    assert seen["acme"].counts["attempts"] == 5


def test_a_tenant_that_is_called_as_the_others_are_is_one_of_them(
    open_shop: Open, noon: datetime
) -> None:
    """Its counters would stand in the place of theirs, or theirs in the place of its own."""
    for slug, attempts in (("other", 500), ("acme", 5), ("beta", 5), ("gamma", 5)):
        work(open_shop(slug), noon, attempts)
    assert labels() == {"acme", "beta"}
    rollups.label(store.connection())
    assert labels() == {"acme", "beta"}
    found = [one.counts["attempts"] for one in gauges.totals(store.connection())]
    assert sorted(found) == [5, 5, 505]
    (own,) = gauges.totals(store.connection(), "other")
    assert own.counts["attempts"] == 500


def test_the_busiest_have_the_labels_but_not_to_and_fro(open_shop: Open, noon: datetime) -> None:
    acme, beta, gamma = (open_shop(slug) for slug in ("acme", "beta", "gamma"))
    for shop in (acme, beta, gamma):
        work(shop, noon, 100)
    assert rollups.label(store.connection()) == 0
    work(gamma, noon, 9)
    assert rollups.label(store.connection()) == 0  # not a tenth more
    work(gamma, noon, 9)
    work(acme, noon, 50)
    assert rollups.label(store.connection()) == 2
    assert labels() == {"acme", "gamma"}
    assert served()["gamma"].counts["attempts"] == 118
    assert served()["other"].counts["attempts"] == 118  # of gamma while it had none
    work(beta, noon, 7)
    assert served()["other"].counts["attempts"] == 125
    work(beta, noon - timedelta(days=30), 1000)
    assert rollups.label(store.connection()) == 0  # that was long ago
    assert served()["other"].counts["attempts"] == 1125


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40), st.booleans()), max_size=15))
def test_no_counter_falls(
    open_shop: Open, noon: datetime, steps: list[tuple[int, int, bool]]
) -> None:
    number = next(NUMBERS)
    shops = [open_shop(f"t{number}-{place}") for place in range(4)]
    before = served()
    for place, attempts, look in steps:
        work(shops[place], noon, attempts)
        if look:
            rollups.label(store.connection())
        now = served()
        assert len(labels()) <= 2
        for slug, totals in before.items():
            if slug in now:
                for name, count in totals.counts.items():
                    assert now[slug].counts[name] >= count
                then = totals.histograms["queue"][0]
                for low, high in zip(then, now[slug].histograms["queue"][0], strict=False):
                    assert high >= low
        before = before | now


def test_waits_for_connections_are_counted_beside(open_shop: Open, noon: datetime) -> None:
    shops = [open_shop(slug) for slug in ("acme", "beta", "gamma")]
    for shop in shops:
        work(shop, noon, 1)
    for count, shop in enumerate(shops, 1):
        TenantDatabase.objects.update_or_create(
            tenant=shop.tenant, defaults={"wait_count": count, "waited_s": count * 0.5}
        )
    for _ in range(2):
        rollups.label(store.connection())
        seen = {slug: one.counts["connection_waits"] for slug, one in served().items()}
        assert seen == {"acme": 1, "beta": 2, "other": 3}
        assert served()["other"].counts["connection_wait_s"] == 1.5
