"""A run of many steps: its page shows it by layers and by pages, and reads no more than that."""

from __future__ import annotations

import html
import re

import pytest
from django.db.models.functions import Now
from pytest_django import DjangoAssertNumQueries

from dashboard.pages.graphs import GROUP_ABOVE, MOST_BANDS, Node, picture
from dashboard.pages.run import STEPS
from orchestrator.models import StepRun
from orchestrator.services.workflows import publish_workflow
from tenants.actors import COMMAND
from tests.dashboard.conftest import House

WIDTH = 1_000


@pytest.fixture
def run_id(house: House) -> str:
    """A run of two layers with a thousand steps, three of which have failed."""
    first = {"name": "first", "handler": "core.echo"}
    parts = [
        {"name": f"part_{i:04}", "handler": "core.echo", "depends_on": ["first"]}
        for i in range(WIDTH - 1)
    ]
    document = {"name": "wide", "steps": [first, *parts]}
    publish_workflow(tenant=house.tenant, name=None, document=document, actor=COMMAND)
    found = house.run("wide")
    StepRun.objects.filter(run_id=found, ordinal__in=(5, 500, 900)).update(
        state="failed", ready_at=Now(), finished_at=Now()
    )
    return str(found)


def test_a_large_run_is_drawn_by_layers_and_listed_by_pages(house: House, run_id: str) -> None:
    client = house.client("viewer")
    seen: list[str] = []
    query = ""
    while True:
        text = client.get(f"/t/mill/runs/{run_id}/{query}").content.decode()
        assert len(text) < 150_000
        assert "layer 2" in text
        assert text.count("data-step=") == 2
        seen += re.findall(r'<tr id="step-(\w+)"', text)
        more = re.search(r'rel="next" href="([^"]+)#steps"', text)
        if more is None:
            break
        query = html.unescape(more[1])
    assert seen == ["first", *(f"part_{i:04}" for i in range(WIDTH - 1))]


def test_the_failed_steps_of_a_large_run_are_found(house: House, run_id: str) -> None:
    text = house.client("viewer").get(f"/t/mill/runs/{run_id}/?state=failed").content.decode()
    assert re.findall(r'<tr id="step-(\w+)"', text) == ["part_0004", "part_0499", "part_0899"]
    assert "Show the steps in all states" in text


def test_a_step_of_a_later_page_is_shown_when_it_is_asked_for(house: House, run_id: str) -> None:
    text = house.client("viewer").get(f"/t/mill/runs/{run_id}/?step=part_0998").content.decode()
    listed = re.findall(r'<tr id="step-(\w+)"', text)
    assert listed[:2] == ["part_0998", "first"]
    assert len(listed) == STEPS + 1


def test_a_layer_of_a_large_run_is_opened(house: House, run_id: str) -> None:
    text = house.client("viewer").get(f"/t/mill/runs/{run_id}/?layer=1").content.decode()
    assert text.count("data-step=") == GROUP_ABOVE
    assert f"{WIDTH - 1 - GROUP_ABOVE} more are not drawn" in text
    assert "All layers" in text


@pytest.mark.parametrize("tab", ["graph", "timeline"])
def test_a_large_run_takes_no_more_statements_than_a_small_one(
    house: House, run_id: str, tab: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    client = house.client("viewer")
    with django_assert_max_num_queries(25):
        assert client.get(f"/t/mill/runs/{run_id}/?tab={tab}").status_code == 200


def test_a_long_chain_is_drawn_in_bands_of_layers() -> None:
    nodes = [Node(f"s{nr}", "succeeded") for nr in range(10_000)]
    drawn = picture(nodes, [(nr, nr + 1) for nr in range(9_999)])
    assert len(drawn.boxes) == MOST_BANDS
    assert drawn.boxes[1].name == "layers 101–200"
    assert len(drawn.curves) == MOST_BANDS - 1
    opened = picture(nodes, [(nr, nr + 1) for nr in range(9_999)], layer=1)
    assert [box.name for box in opened.boxes] == [f"s{nr}" for nr in range(100, 200)]
    assert len(opened.curves) == 99


def test_a_workflow_that_does_not_run_has_no_states() -> None:
    drawn = picture([Node(f"s{nr}", "idle") for nr in range(400)], [])
    assert [(box.word, box.state) for box in drawn.boxes] == [("400 steps", "idle")]


def hrefs(text: str) -> list[str]:
    """Where the boxes of a page's graph lead, "" for nowhere."""
    found = re.findall(r"<(?:a|g)([^>]*) data-step=", text)
    return [href[1] if (href := re.search(r'href="([^"]*)"', one)) else "" for one in found]


def test_the_graph_of_a_version_leads_to_that_version(house: House, run_id: str) -> None:
    newer = {"name": "wide", "steps": [{"name": "alone", "handler": "core.echo"}]}
    publish_workflow(tenant=house.tenant, name=None, document=newer, actor=COMMAND)
    client = house.client("viewer")
    page = "/t/mill/workflows/wide/"
    text = client.get(f"{page}?version=1").content.decode()
    assert hrefs(text) == ["?version=1&amp;layer=0", "?version=1&amp;layer=1"]
    assert 'href="?version=1&amp;window=24h"' in text
    opened = client.get(page + html.unescape(hrefs(text)[1])).content.decode()
    assert "part_0000" in opened
    assert set(hrefs(opened)) == {""}, "its steps are not listed on the page"
    newest = client.get(page).content.decode()
    assert hrefs(newest) == [""]
    assert 'href="?window=24h"' in newest


def test_the_graph_of_a_run_keeps_the_state_that_is_asked_for(house: House, run_id: str) -> None:
    client = house.client("viewer")
    wide = client.get(f"/t/mill/runs/{run_id}/?state=failed").content.decode()
    assert hrefs(wide) == ["?state=failed&amp;layer=0", "?state=failed&amp;layer=1"]
    page = f"/t/mill/runs/{house.run()}/"
    first = "?state=failed&amp;step=fetch#step-fetch"
    assert hrefs(client.get(f"{page}?state=failed").content.decode())[0] == first
    assert 'id="step-fetch"' in client.get(page + html.unescape(first)).content.decode()
    assert hrefs(client.get(page).content.decode())[0] == "#step-fetch"
