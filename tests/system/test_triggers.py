"""Triggers on a running system: a request over the network starts a run, once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.api.hooks import signed
from tests.system.running_system import TestTenant
from tests.system.shapes import call

pytestmark = [pytest.mark.system, pytest.mark.any_servers]


def test_a_request_sent_many_times_at_once_starts_one_run(tenant: TestTenant) -> None:
    tenant.publish("order", [call("a", "echo", args={"value": "${{ input.id }}"})])
    template = {"id": "${{ body.order.id }}"}
    body = {"workflow": "order", "input": template, "dedup_key": "${{ body.order.id }}"}
    made = tenant.http.put("/triggers/shop", json=body)
    assert made.status_code == 201, made.text
    address = tenant.system.url + made.json()["address"]
    data = json.dumps({"order": {"id": 2**64}}).encode()
    headers = signed(made.json()["secret"], data)

    def send(_: int) -> httpx.Response:
        return httpx.post(address, content=data, headers=headers, timeout=30)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(16)))
    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [202]
    (run_id,) = {answer.json()["id"] for answer in answers}
    run = tenant.wait(run_id)
    assert (run["state"], run["output"]) == ("succeeded", 2**64)
    assert run["labels"] == {"trigger": "shop"}
    for bad in (
        httpx.post(address, content=data),
        httpx.post(address + "x", content=data, headers=headers),
        httpx.post(address, content=data + b" ", headers=headers),
    ):
        assert (bad.status_code, bad.json()["code"]) == (401, "hook_refused")
    assert httpx.get(address).status_code == 405
    assert len(tenant.http.get("/runs", params={"label": "trigger:shop"}).json()["items"]) == 1
