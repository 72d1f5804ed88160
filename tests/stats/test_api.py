"""`GET /stats` as its view answers it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import RequestFactory

from orchestrator.api.stats import stats
from orchestrator.api.stats_shapes import BucketView, StatsView
from orchestrator.domain.errors import InvalidRequest, KeyInvalid, ScopeMissing, WorkflowNotFound
from orchestrator.models import Workflow
from orchestrator.services import rollups
from tenants import services
from tenants.actors import COMMAND
from tests.stats.conftest import Shop


def ask(shop: Shop, query: str = "", scope: str = "runs:read") -> Any:
    _, raw = services.create_api_key(tenant=shop.tenant, scopes=[scope], actor=COMMAND)
    request = RequestFactory().get(
        f"/api/v1/stats{query}", headers={"Authorization": f"Bearer {raw}"}
    )
    response = stats(request)
    assert isinstance(response, HttpResponse)
    return json.loads(response.content)


def test_a_window(shop: Shop, noon: datetime) -> None:
    shop.submit(2)
    shop.complete(shop.claim())
    while rollups.roll():
        pass
    body = ask(shop, "?window=15m&workflow=squares")
    assert set(body) == set(StatsView.model_fields)
    assert set(body["buckets"][0]) == set(BucketView.model_fields)
    assert (body["window"], body["width_s"], len(body["buckets"])) == ("15m", 10, 90)
    assert body["totals"]["runs_succeeded"] == 2
    assert body["error_rate"] == 0.0
    assert body["run"]["p50_s"] > 0
    assert body["since"].endswith("Z")
    assert sum(bucket["runs_succeeded"] for bucket in body["buckets"]) == 2
    assert ask(shop)["window"] == "1h"


def test_several_workflows_together(shop: Shop, noon: datetime) -> None:
    first = shop.workflow.name
    shop.submit(2)
    shop.workflow = Workflow.objects.create(tenant=shop.tenant, name="cubes", newest=1)
    shop.version = shop._version(shop.workflow)
    shop.submit(3)
    while rollups.roll():
        pass
    for query, count in (
        (f"?workflow={first}", 2), ("?workflow=cubes", 3), (f"?workflow=cubes&workflow={first}", 5),
        ("?workflow=cubes&workflow=cubes", 3), ("?workflow=", 5), ("", 5),
    ):  # fmt: skip
        assert ask(shop, query)["totals"]["submitted"] == count
    with pytest.raises(WorkflowNotFound):
        ask(shop, "?workflow=cubes&workflow=unknown")
    with pytest.raises(InvalidRequest) as caught:
        ask(shop, "?" + "&".join(f"workflow=w{number}" for number in range(21)))
    assert caught.value.problems[0].path == "/workflow"
    many = "&".join(f"workflow=w{number}" for number in range(5))
    with pytest.raises(WorkflowNotFound):
        ask(shop, f"?window=7d&{many}")
    with pytest.raises(InvalidRequest) as caught:
        ask(shop, f"?window=60d&{many}")
    assert caught.value.problems[0].message == "so many workflows need a shorter window"


@pytest.mark.parametrize("query", ["?window=1x", "?window=1s", "?window=61d", "?windw=1h"])
def test_what_is_refused(shop: Shop, query: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ask(shop, query)
    assert caught.value.problems[0].path in ("/window", "/windw")


def test_strangers(shop: Shop, open_shop: Callable[[str], Shop]) -> None:
    stranger = open_shop("stranger")
    stranger.workflow.name = "theirs"
    stranger.workflow.save()
    with pytest.raises(WorkflowNotFound):
        ask(shop, "?workflow=theirs")
    with pytest.raises(ScopeMissing):
        ask(shop, scope="runs:write")
    with pytest.raises(KeyInvalid):
        stats(RequestFactory().get("/api/v1/stats"))
