"""The tenant's workflows, and one of them: its versions, its graph, how it goes."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from dashboard import charts
from dashboard.live.page import Arguments, Context, Page, Query
from dashboard.pages.graphs import Node, picture
from dashboard.pages.overview import SHOWN, chart_notes, stat_charts
from dashboard.pages.query import window
from dashboard.pages.run import SHOWN_JSON
from orchestrator.domain.errors import InvalidCursor
from orchestrator.selectors.annotations import list_annotations
from orchestrator.selectors.payloads import Payload
from orchestrator.selectors.runs import RunFilters, list_runs
from orchestrator.selectors.stats import WINDOWS, window_stats, workflow_stats
from orchestrator.selectors.versions import version_graph
from orchestrator.selectors.workflows import access_version, list_versions, list_workflows
from tenants.access import Access
from tenants.models import Role

LIMIT = 100
VERSIONS = 20
LATEST = 10


def workflows_context(access: Access, _arguments: Arguments, query: Query) -> Context:
    """A page of workflows by name, with what each did in the last day."""
    try:
        page = list_workflows(tenant=access.tenant, limit=LIMIT, cursor=query.get("cursor") or None)
    except InvalidCursor:
        page = list_workflows(tenant=access.tenant, limit=LIMIT)
    names = [str(item["name"]) for item in page.items]
    seen = workflow_stats(tenant=access.tenant, window_s=WINDOWS["24h"], names=names)
    done = {row.name: row for row in seen}
    rows = [{**item, "stats": done.get(str(item["name"]))} for item in page.items]
    return {"rows": rows, "next_cursor": page.next_cursor}


def workflow_context(access: Access, arguments: Arguments, query: Query) -> Context:
    """A version of a workflow, the newest unless `?version=` says another.  Raises WorkflowNotFound,
    VersionNotFound."""
    number = query.get("version", "")
    number = number if number.isdecimal() and len(number) < 10 else ""
    version = access_version(
        tenant=access.tenant,
        name=arguments["name"],
        version=int(number) if number else None,
    )
    kept = {"version": number} if number else {}
    graph = version_graph(version.pk)
    edges = [(parent, step.ordinal) for step in graph.steps for parent in step.parents]
    nodes = [Node(step.name, "idle", step.handler or "") for step in graph.steps]
    layer = query.get("layer", "")
    asked = window(query)
    stats = window_stats(
        tenant=access.tenant,
        window_s=asked.seconds,
        workflows=[version.workflow.name],
        now=asked.until,
        of=SHOWN,
    )
    notes = list_annotations(
        tenant=access.tenant,
        since=stats.since,
        until=stats.until,
        workflow=version.workflow.name,
    )
    document: Any = Payload(version.document).value
    definition = json.dumps(document, indent=2, ensure_ascii=False)
    return {
        "workflow": version.workflow,
        "version": version,
        "description": document.get("description", ""),
        "definition": definition[:SHOWN_JSON],
        "is_cut": len(definition) > SHOWN_JSON,
        "graph": picture(
            nodes,
            edges,
            layer=int(layer) if layer.isdecimal() else None,
            kept=kept,
            steps_listed=False,
        ),
        "kept": urlencode(kept),
        "versions": list_versions(
            tenant=access.tenant, name=version.workflow.name, limit=VERSIONS
        ).items,
        "runs": list_runs(
            tenant=access.tenant, filters=RunFilters(workflow=version.workflow.name), limit=LATEST
        ).items,
        "stats": stats,
        "window": asked,
        "windows": list(WINDOWS),
        "charts": charts.marked(stat_charts(stats), chart_notes(notes)),
        "notes": notes,
        "may_pause": access.may(Role.OPERATOR),
        "may_run": access.may(Role.OPERATOR) and version.workflow.archived_at is None,
        "example_input": json.dumps(example(document.get("input_schema")), indent=2),
    }


def example(schema: object) -> object:
    """An input to begin with: the schema's defaults and examples, empty values for what it requires."""
    if not isinstance(schema, dict):
        return {}
    if "default" in schema:
        return schema["default"]
    if isinstance(schema.get("examples"), list) and schema["examples"]:
        return schema["examples"][0]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    properties = schema.get("properties")
    if isinstance(properties, dict):
        wanted = schema.get("required") or list(properties)
        return {key: example(properties.get(key)) for key in wanted if key in properties}
    empty: dict[str, object] = {
        "string": "",
        "integer": 0,
        "number": 0,
        "boolean": False,
        "array": [],
        "null": None,
    }
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    return empty.get(kind, {}) if isinstance(kind, str) else {}


WORKFLOWS = Page("workflows", "dashboard/workflows.html", ("rows",), workflows_context)
WORKFLOW = Page(
    "workflow", "dashboard/workflow.html", ("charts", "runs"), workflow_context, argument="name"
)
