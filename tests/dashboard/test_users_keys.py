"""Users name the keys of labels, patterns and fields, also after what a template might ask a dict for."""

from __future__ import annotations

import html
import json
import re
import time

import pytest
from django.conf import settings

from dashboard.templatetags import millrace
from orchestrator import store
from orchestrator.domain.steplog import Line
from orchestrator.models import Alert
from orchestrator.services.channels import create_channel
from orchestrator.services.schedules import create_schedule
from orchestrator.services.silences import create_silence, create_window
from orchestrator.services.slas import create_sla
from orchestrator.services.triggers import create_trigger
from orchestrator.store import logs
from orchestrator.store.logs import Written
from tenants.actors import COMMAND
from tests.alerts.planted import Planted
from tests.dashboard.conftest import House

METHODS = {"items": "x", "keys": "y", "values": "z"}
TEMPLATES = settings.BASE_DIR / "templates"


@pytest.fixture
def pages(house: House) -> dict[str, int]:
    """Pages of `mill`, all of whose things have keys named like methods; how often each shows them."""
    tenant = house.tenant
    Planted(tenant.pk, "sla:1", METHODS).bad()
    run_id = house.run(**METHODS)
    (claim,) = house.engine.claim()
    line = Line(1, time.monotonic(), 20, "hello", json.dumps(METHODS))
    logs.write(store.connection(), [Written(claim, line)])
    named = {"name": "one", "workflow": "import", "labels": METHODS}
    create_schedule(tenant=tenant, body={**named, "interval": "1h"}, actor=COMMAND)
    create_trigger(tenant=tenant, body=named, actor=COMMAND)
    rule = {"name": "one", "kind": "run_duration", "threshold": "1h", "labels": METHODS}
    create_sla(tenant=tenant, body=rule, actor=COMMAND)
    mail = {"name": "one", "kind": "email", "to": ["a@example.org"], "match": METHODS}
    create_channel(tenant=tenant, body=mail, actor=COMMAND)
    quiet = {"match": METHODS, "reason": "known", "duration": "1h"}
    create_silence(tenant=tenant, body=quiet, actor=COMMAND)
    weekly = {**quiet, "name": "one", "cron": "0 2 * * 0"}
    create_window(tenant=tenant, body=weekly, actor=COMMAND)
    return {
        "": 1,  # the alert
        "runs/": 1,
        f"runs/{run_id}/": 1,
        f"runs/{run_id}/?tab=logs": 2,
        f"runs/{run_id}/?step=fetch": 2,
        "workflows/import/": 0,
        "schedules/one/": 1,
        "triggers/one/": 1,
        "slas/": 1,
        "slas/one/": 1,
        "alerts/": 1,
        f"alerts/{Alert.objects.get().pk}/": 1,
        "channels/": 1,
        "channels/one/": 1,
        "silences/": 2,
    }


def test_a_key_named_like_a_method_is_shown_like_any_other(
    house: House, pages: dict[str, int]
) -> None:
    client = house.client("admin")
    for page, count in pages.items():
        for headers in ({}, {"X-Live": "1"}):
            answer = client.get(f"/t/mill/{page}", headers=headers)
            assert answer.status_code == 200, page
            text = html.unescape(re.sub("<[^>]+>", "", answer.content.decode()))
            shown = len(re.findall(r"items[:=]x", text))
            assert shown == count, (page, headers, shown)


def test_pairs_are_those_of_the_dict() -> None:
    assert list(millrace.pairs(METHODS)) == list(METHODS.items())


def test_no_template_asks_a_dict_for_its_items() -> None:
    asked = re.compile(r"{%\s*for\b[^%]*\bin\s+\S+\.(?:items|keys|values)\b")
    for file in TEMPLATES.rglob("*.html"):
        assert asked.findall(file.read_text()) == [], f"{file.name}: write |pairs"
