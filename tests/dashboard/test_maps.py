"""A map on the run's page: one node with a ring, its counts, its batches on demand."""

from __future__ import annotations

import html
import re

import pytest

from orchestrator.services.workflows import publish_workflow
from orchestrator.store.work import Completion
from tenants.actors import COMMAND
from tests.dashboard.conftest import House

NO = '{"code":"error","message":"no luck","type":"ValueError","item_index":2}'


@pytest.fixture
def run_id(house: House) -> str:
    """A run whose map has done 4 of 120 items in batches of 2, of which one batch failed."""
    of = {"over": "${{ range(120) }}", "batch_size": 2, "max_in_flight": 58, "on_error": "continue"}
    document = {"name": "mapped", "steps": [{"name": "every", "handler": "core.echo", "map": of}]}
    publish_workflow(tenant=house.tenant, name=None, document=document, actor=COMMAND)
    run_id = house.run("mapped")
    house.engine.join()
    house.engine.decide()
    one, two = house.engine.claim(2)
    house.engine.succeed([one], [0, 1])
    house.engine.complete(Completion(two, "failed", 0.1, error=NO))
    return str(run_id)


def test_a_map_is_one_node_with_a_ring_and_its_counts(house: House, run_id: str) -> None:
    text = house.client("viewer").get(f"/t/mill/runs/{run_id}/").content.decode()
    assert text.count("data-step=") == 1
    assert 'class="ring"' in text
    assert 'stroke-dasharray="3 100"' in text
    assert "4 of 120 items" in text
    assert "2 failed" in text
    assert "58 batches in flight" in text
    assert re.findall(r'<tr id="step-(\w+)"', text) == ["every"]


def test_its_batches_are_listed_on_demand_page_by_page(house: House, run_id: str) -> None:
    client = house.client("viewer")
    text = client.get(f"/t/mill/runs/{run_id}/?step=every").content.decode()
    assert '<h3 class="label">Batches</h3>' in text
    assert "item 2: no luck" in text
    more = re.search(r'href="([^"]*batches=[^"]+)#step-every"', text)
    assert more is not None
    text = client.get(f"/t/mill/runs/{run_id}/{html.unescape(more[1])}").content.decode()
    assert "First batches" in text
    assert "no luck" not in text
    assert client.get(f"/t/mill/runs/{run_id}/?step=every&batches=none").status_code == 200


def test_states_filter_and_show_a_running_map(house: House, run_id: str) -> None:
    client = house.client("viewer")
    for state, shown in (("running", ["every"]), ("waiting", []), ("ready", [])):
        text = client.get(f"/t/mill/runs/{run_id}/?state={state}").content.decode()
        assert re.findall(r'<tr id="step-(\w+)"', text) == shown
    for tab in ("timeline", "events"):
        assert client.get(f"/t/mill/runs/{run_id}/?tab={tab}").status_code == 200
