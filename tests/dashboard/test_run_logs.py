"""A run's log on its page: newest lines, older ones on demand, filters, the file."""

from __future__ import annotations

import html
import json
import re
import time

import pytest

from orchestrator import store
from orchestrator.domain.steplog import Line
from orchestrator.store import logs
from orchestrator.store.logs import Written
from orchestrator.store.work import Claimed
from tests.api.client import streamed
from tests.dashboard.conftest import House


def log(claim: Claimed, *messages: str, level: int = 20, **fields: object) -> None:
    """These lines of a claimed step."""
    told = json.dumps(fields) if fields else None
    logs.write(
        store.connection(),
        [Written(claim, Line(n, time.monotonic(), level, text, told)) for n, text in enumerate(messages, 1)],
    )  # fmt: skip


@pytest.fixture
def claim(house: House) -> Claimed:
    """The first step of a run, running."""
    house.run()
    (claim,) = house.engine.claim()
    return claim


def text_of(house: House, claim: Claimed, query: str = "tab=logs", role: str = "viewer") -> str:
    answer = house.client(role).get(f"/t/mill/runs/{claim.run_id}/?{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def shown(text: str) -> list[str]:
    """The messages on a page."""
    found = re.findall(r'<span class="log-text">(.*?)(?: <span|<details|</span>)', text, re.DOTALL)
    return [html.unescape(one) for one in found]


def test_an_empty_log_says_what_would_appear(house: House, claim: Claimed) -> None:
    text = text_of(house, claim)
    assert "No line has been logged" in text
    assert "Download" not in text


def test_lines_with_their_fields_and_tracebacks(house: House, claim: Claimed) -> None:
    log(claim, "<b>bold</b>", amount=5, to="<ada>")
    log(claim._replace(attempts=1), "failed", level=40, exception="Traceback …\n<script>")
    text = text_of(house, claim)
    assert shown(text) == ["<b>bold</b>", "failed"]
    assert "<b>bold" not in text
    assert "<script>" not in text.partition('id="section-body"')[2].partition("<form")[0]
    assert '<span class="muted">amount=</span>5' in text
    assert "attempt 2" in text
    assert 'class="log-line is-error"' in text


def test_the_newest_lines_are_shown_and_older_ones_on_demand(house: House, claim: Claimed) -> None:
    log(claim, *(f"line {n}" for n in range(450)))
    client = house.client("viewer")
    where = f"/t/mill/runs/{claim.run_id}/"
    text = client.get(f"{where}?tab=logs").content.decode()
    assert shown(text) == [f"line {n}" for n in range(250, 450)]
    older = re.search(r'href="(\?tab=logs&amp;before=\d+)"', text)
    assert older is not None
    text = client.get(where + html.unescape(older[1])).content.decode()
    assert shown(text) == [f"line {n}" for n in range(50, 250)]
    assert "Newest lines" in text


def test_filters(house: House, claim: Claimed) -> None:
    log(claim, "one", "Two")
    log(claim, "three", level=30)
    asked = {
        "q=two": ["Two"],
        "level=warning": ["three"],
        "step=fetch&attempt=1": ["one", "Two", "three"],
        "step=check": [],
        "step=nothing": [],
        "level=loud&before=x&index=": ["one", "Two", "three"],
        "index=0": [],
    }
    client = house.client("viewer")
    for query, messages in asked.items():
        text = client.get(f"/t/mill/runs/{claim.run_id}/?tab=logs&{query}").content.decode()
        assert shown(text) == messages, query
        assert ("No line matches" in text) is (messages == [])


def test_a_steps_panel_has_its_newest_lines(house: House, claim: Claimed) -> None:
    log(claim, *(f"line {n}" for n in range(25)))
    text = text_of(house, claim, "step=fetch")
    assert shown(text) == [f"line {n}" for n in range(5, 25)]
    assert "All lines of this step" in text
    assert shown(text_of(house, claim, "step=check", role="operator")) == []


def test_the_file_has_all_lines(house: House, claim: Claimed) -> None:
    log(claim, *(f"line {n}" for n in range(1_100)))
    log(claim._replace(batch=2), "first\nsecond", level=40, k=1, exception="a\nb")
    client = house.client("viewer")
    answer = client.get(f"/t/mill/runs/{claim.run_id}/logs.txt")
    assert answer.status_code == 200
    assert f'filename="{claim.run_id}.log"' in answer["Content-Disposition"]
    lines = streamed(answer).decode().splitlines()  # type: ignore[arg-type]
    assert len(lines) == 1_104
    assert re.fullmatch(r"\S+Z INFO fetch#1 line 0", lines[0])
    assert re.fullmatch(r"\S+Z ERROR fetch\[1\]#1 first", lines[-4])
    assert lines[-3:] == ["  second k=1", "  a", "  b"]
    narrowed = client.get(f"/t/mill/runs/{claim.run_id}/logs.txt?level=error")
    assert len(streamed(narrowed).decode().splitlines()) == 4  # type: ignore[arg-type]
    assert client.get(f"/t/mill/runs/{claim.run_id}/logs.txt?step=no").status_code == 404
    stranger = house.client(None)
    assert stranger.get(f"/t/mill/runs/{claim.run_id}/logs.txt").status_code == 404
