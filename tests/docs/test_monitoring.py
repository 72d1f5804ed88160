"""The shipped rules and dashboard ask only for what is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from orchestrator import metrics
from tests.docs.reading import DOCS

FOLDER = DOCS / "monitoring"
SERVED = {
    name: {*metric.labels, *(("le",) if name.endswith("_bucket") else ())}
    for metric in metrics.ALL
    for name in metric.samples
}
SCRAPED = {"job", "instance"}


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((FOLDER / "rules.yml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Every expression with its place, as Grafana sends it."""
    for rule in rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            asked = target["expr"].replace("$__rate_interval", "1m").replace("$tenant", ".*")
            assert "$" not in asked, panel["title"]
            yield panel["title"], asked


def selectors(expr: Any) -> list[promql_parser.VectorSelector]:
    found: list[promql_parser.VectorSelector] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.MatrixSelector):
            found.append(node.vector_selector)
        elif isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(expr, visit)
    return found


def grouped(expr: Any) -> set[str]:
    """Every label by which something is summed or joined."""
    found: set[str] = set()

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            found.update(node.modifier.labels)
        if isinstance(node, promql_parser.BinaryExpr) and node.modifier and node.modifier.matching:
            found.update(node.modifier.matching.labels)
        return True

    promql_parser.walk(expr, visit)
    return found


def recorded() -> dict[str, set[str]]:
    """What rules record, with the labels that are left."""
    return {
        rule["record"]: grouped(promql_parser.parse(rule["expr"])) - {"le"}
        for rule in rules()
        if "record" in rule
    }


@pytest.mark.parametrize(("place", "query"), sorted(set(queries())))
def test_every_query_is_of_metrics_and_labels_that_are_served(place: str, query: str) -> None:
    known = SERVED | recorded()
    expr = promql_parser.parse(query)
    seen = selectors(expr)
    assert seen, "asks for nothing"
    labels: set[str] = set()
    for selector in seen:
        assert selector.name in known, place
        labels |= known[selector.name]
        for matcher in selector.matchers.matchers:
            assert matcher.name in known[selector.name], (place, matcher.name)
    assert grouped(expr) <= labels | SCRAPED, place


def test_counters_are_asked_for_rates_and_gauges_are_not() -> None:
    kinds = {name: metric.kind for metric in metrics.ALL for name in metric.samples}
    for place, query in queries():
        for name, kind in kinds.items():
            plain = re.findall(rf"(\w+)\({name}\b[^()]*?\[", query)
            everywhere = len(re.findall(rf"\b{name}\b", query))
            assert set(plain) <= {"rate", "increase"}, place
            assert len(plain) == (0 if kind == "gauge" else everywhere), (place, name)


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    asked = {
        selector.name
        for _, query in queries()
        for selector in selectors(promql_parser.parse(query))
    }
    unseen = {metric.name for metric in metrics.ALL if not asked & set(metric.samples)}
    assert unseen == {metrics.EVENTS_SEQ.name}


def test_every_alert_says_what_to_do_and_names_what_it_knows() -> None:
    page = (FOLDER / "README.md").read_text()
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts) > 10
    known = SERVED | recorded()
    for rule in alerts:
        assert f"| `{rule['alert']}` |" in page, rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical")
        labels = set().union(
            *(known[s.name or ""] for s in selectors(promql_parser.parse(rule["expr"])))
        )
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert named <= labels, rule["alert"]
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == {r["alert"] for r in alerts}


def test_the_dashboards_panels_have_places_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_the_rules_tests_are_of_alerts_that_are_there() -> None:
    known = {rule["alert"] for rule in rules() if "alert" in rule}
    document = yaml.safe_load((FOLDER / "rules_test.yml").read_text())
    tried = {
        one["alertname"] for test in document["tests"] for one in test.get("alert_rule_test", ())
    }
    assert len(tried) >= 10
    assert tried <= known
    for test in document["tests"]:
        for series in test["input_series"]:
            assert selectors(promql_parser.parse(series["series"]))[0].name in SERVED


def test_promtool_agrees_where_it_is_installed() -> None:
    promtool = shutil.which("promtool")
    for words in (["check", "rules", "rules.yml"], ["test", "rules", "rules_test.yml"]):
        command = [promtool, *words] if promtool else ["true"]
        done = subprocess.run(command, check=False, cwd=FOLDER, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
