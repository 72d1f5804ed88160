"""What the code has and a reader must find: each test fails when something new is not written down."""

from __future__ import annotations

import ast
import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator import metrics
from orchestrator.api import root
from orchestrator.clock import lanes
from orchestrator.conf import PREFIX, Conf, conf
from orchestrator.domain.definition import parse_definition, policies, steps
from orchestrator.domain.definition.parse import TOP_KEYS
from orchestrator.domain.definition.roots import EVERYWHERE
from orchestrator.domain.errors import MillraceError
from orchestrator.domain.expressions.check import ROOTS
from orchestrator.domain.statuses import TriggerRule
from orchestrator.embedded.postgres import SETTINGS
from orchestrator.handlers import registry
from orchestrator.management.commands.workflow_publish import _Loader
from orchestrator.selectors.health import board
from orchestrator.settings import POOL
from tenants.errors import TenantsError
from tests.clock.test_lanes import MOST_CONNECTIONS
from tests.docs import reading
from tests.docs.reading import DOCS, ROOT, Block

pytestmark = pytest.mark.thorough

METHODS = ("get", "put", "post", "delete", "patch")
# Bases of narrower errors, and what stands for a fault of ours (`internal_error`).
BASES = {"error", "malformed", "unauthorized", "forbidden", "not_found", "conflict", "invalid"}


def missing(page: str, names: Iterator[str] | set[str]) -> list[str]:
    """Which of these names no `code` of the page holds."""
    return sorted(set(names) - reading.in_code(page))


def cells(page: str) -> dict[str, list[str]]:
    """The rows of a page's tables, by each `code` of their first column."""
    found: dict[str, list[str]] = {}
    for line in reading.text(page).splitlines():
        if line.startswith("|"):
            row = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", row[0]), row)
    return found


def test_every_setting_stands_there_with_its_default() -> None:
    rows = cells("configuration.md")
    for field in dataclasses.fields(Conf):
        told = rows[PREFIX + field.name.upper()][1]
        if field.default != "":
            value = str(field.default).lower()
            assert told.strip("`") == re.sub(r"\.0$", "", value), field.name


def variables() -> Iterator[str]:
    """Every environment variable that the product reads."""
    for name, call in reading.calls():
        of_environ = isinstance(call.func, ast.Attribute) and "environ" in ast.dump(call.func.value)
        if (of_environ and name in ("get", "setdefault", "pop")) or name == "_flag":
            yield reading.constant(call, 0) or ""
    for tree in reading.trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Subscript) and "environ" in ast.dump(node.value):
                assert isinstance(node.slice, ast.Constant)
                yield str(node.slice.value)


def test_every_environment_variable_stands_there() -> None:
    found = set(variables()) - {""}
    assert {"DATABASE_URL", "PG_BIN_DIR", "DATABASE_DIRECT_URL", "BEHIND_TLS_PROXY"} <= found
    assert missing("configuration.md", found | {"ORCHESTRATOR_HANDLERS"}) == []


def test_every_make_target_and_variable_stands_there() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)
    page = reading.text("configuration.md")
    assert "up" in targets
    assert [name for name in targets if f"`make {name}`" not in page] == []
    told = re.search(r'@echo "  (PYTHON=.*?)"\n\s*@echo "  (.*?)"', makefile)
    assert told is not None
    used = set(re.findall(r"\b[A-Z]{4}[A-Z_]*\b", " ".join(told.groups())))
    used |= set(re.findall(r"\$\((?:filter no,\$\()?(ARGS|EXTERNAL)\)", makefile))
    assert {"PORT", "EXTERNAL"} <= used
    assert missing("configuration.md", used) == []


def test_every_metric_stands_there_with_its_kind_and_labels() -> None:
    rows = cells("metrics.md")
    known = [value for value in vars(metrics).values() if isinstance(value, metrics.Metric)]
    assert known
    for metric in known:
        kind, labels = rows[metric.name][1:3]
        assert kind == metric.kind
        assert tuple(filter(None, re.split(r",\s*", labels))) == metric.labels, metric.name


def narrower(base: type[MillraceError] | type[TenantsError]) -> Iterator[tuple[str, int]]:
    for cls in base.__subclasses__():
        if cls.__module__.startswith(reading.PACKAGES):
            yield cls.code, cls.status
            yield from narrower(cls)


def test_every_problem_of_the_api_stands_there_with_its_status() -> None:
    rows = cells("errors.md")
    known = {*narrower(MillraceError), *narrower(TenantsError)}
    for name, call in reading.calls():
        status = call.args[0] if name == "plain" and len(call.args) > 3 else None
        if isinstance(status, ast.Constant):
            known.add((reading.constant(call, 3) or "", int(str(status.value))))
    assert {("unknown_route", 404), ("unavailable", 503), ("invalid_cursor", 422)} <= known
    wrong = {(code, status) for code, status in known - told(rows) if code not in BASES}
    assert wrong == set()


def told(rows: dict[str, list[str]]) -> set[tuple[str, int]]:
    return {(code, int(row[1])) for code, row in rows.items() if row[1].isdigit()}


def test_every_code_of_a_finding_stands_there() -> None:
    found = {
        reading.constant(call, 2) or ""
        for name, call in reading.calls()
        if name in ("note", "_note", "Problem")
    }
    codes = {code for code in found if re.fullmatch(r"[a-z]+(_[a-z]+)*", code)}
    assert {"unknown_key", "cycle", "bad_input", "bad_label", "unknown_version"} <= codes
    assert missing("errors.md", codes) == []


def test_every_code_of_an_attempt_or_a_run_stands_there() -> None:
    codes = {
        reading.constant(call, 0) or ""
        for name, call in reading.calls()
        if name in ("Fault", "_error", "_run_error")
    }
    sources = [*(ROOT / "orchestrator/store/sql").rglob("*.sql")]
    sources += [*(ROOT / "orchestrator/executor").glob("*.py")]
    for file in sources:
        codes |= set(re.findall(r"""['"]code['"]\s*[:,]\s*['"]([a-z_]+)['"]""", file.read_text()))
    codes -= {""}
    assert {"timeout", "lost", "aborted", "step_failed", "run_timeout", "deadline"} <= codes
    assert missing("errors.md", codes) == []


def commands() -> Iterator[Path]:
    for package in reading.PACKAGES:
        yield from (ROOT / package / "management" / "commands").glob("[a-z]*.py")


def test_every_command_stands_there_with_its_options() -> None:
    rows = {name.split()[0]: row for name, row in cells("commands.md").items()}
    assert {"up", "doctor", "load"} <= set(rows)
    for file in commands():
        row = " ".join(rows[file.stem])
        for option in re.findall(r'add_argument\(\s*"(--[a-z-]+)"', file.read_text()):
            assert f"`{option}" in row or f" {option}" in row, f"{file.stem} {option}"


def test_every_route_stands_there() -> None:
    document = root.api.get_openapi_schema()
    page = re.sub(r"\{[a-z_]+\}", "{}", reading.text("api.md"))
    routes = [
        f"{method.upper()} " + re.sub(r"\{[a-z_]+\}", "{}", path.removeprefix("/api/v1"))
        for path, known in document["paths"].items()
        for method in known
        if method in METHODS
    ]
    assert len(routes) > 15
    assert [route for route in routes if f"`{route}`" not in page] == []


def test_every_key_of_a_definition_stands_there() -> None:
    keys = {*TOP_KEYS, *steps.STEP_KEYS, *policies._RETRY_KEYS, *TriggerRule}
    assert missing("workflows.md", set(map(str, keys))) == []


def test_where_every_root_of_an_expression_may_stand_is_said() -> None:
    section = reading.text("workflows.md").split("## Expressions")[1].split("\n## ")[0]
    paths, where = (
        section.split(f"- **{word}**")[1].split("\n- ")[0] for word in ("Paths", "Where")
    )
    assert [root for root in ROOTS if f"`{root}`" not in where] == []
    assert [root for root in EVERYWHERE if f"`{root}." not in paths] == []


def test_every_built_in_handler_stands_there() -> None:
    names = {spec.name for spec in registry.all() if spec.name.startswith("core.")}
    assert missing("handlers.md", names) == []


def test_the_clocks_lanes_stand_there() -> None:
    rows = cells("decisions/clock-lanes.md")
    made = {lane.name: [duty.name for duty in lane.duties] for lane in lanes(conf())}
    assert {name: re.findall(r"`(\w+)`", rows[name][1]) for name in made} == made
    assert rows.keys() - made.keys() == {"spans"}
    doctor = reading.text("commands.md")
    assert f"clock: {sum(map(len, made.values()))} duties;" in doctor
    assert f" of {SETTINGS['max_connections']} connections; oldest snapshot" in doctor


def test_what_processes_hold_of_the_databases_connections_stands_there() -> None:
    page = " ".join(reading.text("operations.md").split())
    looks = len(board._lanes)
    assert len(lanes(conf())) + looks + 2 == MOST_CONNECTIONS
    assert f"A clock holds at most {MOST_CONNECTIONS}, one more where" in page
    most = int(str(POOL["max_size"]))
    assert f"A web process holds at most {most + looks + 3}: {most} in its pool" in page


@pytest.mark.parametrize("page", reading.pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in reading.links(page):
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        if anchor and there.suffix == ".md":
            assert anchor in reading.headings(there), target


def test_every_page_is_in_the_index() -> None:
    index = reading.links(DOCS / "README.md")
    listed = {(DOCS / target.partition("#")[0]).resolve() for target in index}
    assert {page for page in DOCS.rglob("*.md") if page.name != "README.md"} <= listed


def examples() -> list[Block]:
    return [block for page in reading.pages() for block in reading.blocks(page)]


def test_definitions_in_the_pages_are_valid() -> None:
    checked = 0
    for block in examples():
        if block.language == "yaml":
            document = yaml.load(block.text, _Loader)
        elif block.language == "json" and block.file is not None:
            document = json.loads(block.text)
        else:
            continue
        parse_definition(document)
        checked += 1
    assert checked >= 3


def test_built_in_handlers_in_the_pages_are_there() -> None:
    called = set()
    for block in examples():
        if block.language == "yaml":
            called |= set(re.findall(r"handler: ((?:core|demo)\.\w+)", block.text))
    assert called >= {"core.echo", "demo.customers"}
    assert [name for name in sorted(called) if registry.get(name) is None] == []


def test_python_and_json_in_the_pages_can_be_read() -> None:
    for block in examples():
        if block.language == "python":
            compile(block.text, block.page, "exec")
        elif block.language == "json":
            json.loads(block.text)
