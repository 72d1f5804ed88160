"""A run: what it does now, what each step did, why one waits or failed."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.utils import timezone

from dashboard.live.page import Arguments, Context, Page, Query
from dashboard.pages.graphs import GROUP_ABOVE, Node, Picture, picture
from dashboard.pages.run_logs import logs_context, step_lines
from dashboard.pages.timeline import MOST, timeline
from dashboard.pages.undoing import undo_context, with_undos
from dashboard.progress import OVER, parts
from dashboard.words import STEP_STATES, duration
from orchestrator.domain.errors import InvalidCursor, PayloadUnavailable, StepNotFound
from orchestrator.domain.repairs import Repair, run_may_pause, step_repairs
from orchestrator.domain.statuses import TERMINAL_RUN, RunState, StepState
from orchestrator.selectors.attempts import newest_attempts
from orchestrator.selectors.events import events_page
from orchestrator.selectors.paging import Page as Listed
from orchestrator.selectors.payloads import Payload
from orchestrator.selectors.runs import RunRow, describe_run, view
from orchestrator.selectors.schedules import schedule_of_run
from orchestrator.selectors.slas import misses_of_run
from orchestrator.selectors.steps import begun_steps, step_states, step_view, steps_page
from orchestrator.selectors.versions import VersionGraph, version_graph
from orchestrator.selectors.waits import awaited_signals
from tenants.access import Access
from tenants.models import Role

TABS = {
    "graph": "Graph",
    "timeline": "Timeline",
    "logs": "Logs",
    "events": "Events",
    "data": "Input and output",
}
STEPS = 100
"""Steps that one page lists of a run whose graph is grouped; of a smaller one it lists all."""
ATTEMPTS = BATCHES = 50
EVENTS = 100
SHOWN_JSON = 200_000
"""Characters of a payload that are shown; the API has the whole."""
EVENT_COLOURS = {"retrying": "waiting", "lost": "failed", "received": "ready"}
"""Events that are not named after a state are coloured like one."""
UNDO_NOTES = {"running": "undoing", "succeeded": "undone", "failed": "undo failed"}
TERMINAL = ("succeeded", "failed", "cancelled")

Row = dict[str, Any]


def context(access: Access, arguments: Arguments, query: Query) -> Context:
    """Everything that the Run page shows in the asked tab.  Raises RunNotFound."""
    row = describe_run(tenant=access.tenant, run_id=arguments["run_id"])
    run: Row = view(row)
    tab = query.get("tab", "graph")
    tab = tab if tab in TABS else "graph"
    found: Context = {
        "run": run,
        "error": decoded(run["error"]),
        "parts": parts(run["steps"]),
        "is_over": run["state"] in TERMINAL,
        "misses": []
        if run["state"] in TERMINAL
        else misses_of_run(tenant=access.tenant, run_id=row.id),
        "may_cancel": access.may(Role.OPERATOR)
        and run["state"] not in TERMINAL
        and not run["closing"]
        and not run["undo"],
        **repairs(access, run),
        "tab": tab,
        "tabs": TABS,
        "step_name": query.get("step", ""),
        **undo_context(access, row),
        "schedule": schedule_of(access, row.id, run["labels"]),
    }
    if access.may(Role.OPERATOR) and row.waiting_count:
        found["signals"] = awaited_signals(tenant=access.tenant, run_id=row.id)
    if tab == "logs":
        found |= logs_context(access, row.id, version_graph(row.version_id), query)
    elif tab == "events":
        found["events"] = events(access, arguments, query)
    elif tab == "data":
        found["payloads"] = [
            (word, shown(run[key])) for word, key in (("Input", "input"), ("Output", "output"))
        ]
    elif tab == "timeline":
        begun, total = begun_steps(
            tenant=access.tenant, run_id=row.id, version_id=row.version_id, limit=MOST
        )
        until = row.finished_at or timezone.now()
        found["timeline"] = timeline(begun, since=row.created_at, until=until, total=total)
    else:
        found |= steps_context(access, row, query)
        if found["may_repair"]:
            chosen = next((one for one in found["steps"] if one["name"] == query.get("step")), None)
            found |= step_choices(run, chosen)
    return found


def repairs(access: Access, run: Row) -> Context:
    """What the person may do to the run by hand."""
    may, state = access.may(Role.OPERATOR), RunState(run["state"])
    counts = run["steps"]
    return {
        "may_pause": may and run_may_pause(state, closing=ending(run)),
        "may_resume": may and state is RunState.PAUSED,
        "may_retry": may and state in (RunState.FAILED, RunState.CANCELLED),
        "may_repair": may,
        "unfinished": counts["failed"] + counts["cancelled"],
    }


def ending(run: Row) -> bool:
    """Whether the run comes to its end: it closes, or is being undone."""
    return bool(run["closing"]) or bool(run["undo"] and run["undo"]["state"] == "running")


def step_choices(run: Row, step: Row | None) -> Context:
    """What may be done by hand to the step that was asked for."""
    if step is None:
        return {}
    waiting = step["waiting"] or {}
    choices = step_repairs(
        RunState(run["state"]),
        StepState(step["state"]),
        closing=ending(run),
        backoff=waiting.get("reason") in ("retry", "snooze") and waiting.get("until") is not None,
    )
    return {
        "choices": [choice.value for choice in Repair if choice in choices],
        "may_give_up": (step.get("undoing") or {}).get("state") in ("ready", "waiting"),
        "may_start_here": RunState(run["state"]) in TERMINAL_RUN,
        "chosen_step": step["name"],
    }


def schedule_of(access: Access, run_id: UUID, labels: Row) -> tuple[str, datetime] | None:
    """The schedule that started the run, and for which time; asked only where a label says so."""
    if "schedule" not in labels:
        return None
    return schedule_of_run(tenant=access.tenant, run_id=run_id)


def steps_context(access: Access, row: RunRow, query: Query) -> Context:
    """The graph, a page of the steps, and the attempts of the step that was asked for.

    Of a run whose graph is grouped, no more is read than the states and that page."""
    graph = version_graph(row.version_id)
    state = query.get("state", "")
    state = state if state in STEP_STATES else ""
    chosen = query.get("step", "")
    large = row.step_count > GROUP_ABOVE
    page = steps(access, row, state, query.get("cursor", ""), limit=STEPS if large else GROUP_ABOVE)
    rows = [told(step) for step in page.items]
    if chosen in graph.ordinals and all(step["name"] != chosen for step in rows):
        rows = [told(step) for step in one_step(access, row, chosen)] + rows
    batches = batches_page(access, row, chosen, query) if graph.is_map(chosen) else None
    if large:
        states = step_states(tenant=access.tenant, run_id=row.id)
        nodes = [
            Node(step.name, states[step.ordinal], states[step.ordinal]) for step in graph.steps
        ]
    else:
        every = steps(access, row, "", "", limit=GROUP_ABOVE).items if state else page.items
        nodes = [node(step) for step in every]
    kept = {"state": state, "cursor": query.get("cursor", ""), "layer": query.get("layer", "")}
    return {
        "steps": with_undos(access, row, rows),
        "state": state,
        "kept": urlencode({name: value for name, value in kept.items() if value}),
        "next_cursor": page.next_cursor,
        "is_later": bool(query.get("cursor")),
        "graph": drawn(graph, nodes, query),
        "batches": batches,
        **({} if batches else attempts(access, row.id, chosen)),
        **(step_lines(access, row.id, chosen) if chosen in graph.ordinals else {}),
    }


def steps(access: Access, row: RunRow, state: str, cursor: str, *, limit: int) -> Listed:
    """A page of the run's steps; the first one for a cursor that is none."""
    for asked in (cursor or None, None):
        try:
            return steps_page(
                tenant=access.tenant, run_id=row.id, limit=limit, cursor=asked, state=state or None
            )
        except InvalidCursor:
            continue
    raise AssertionError  # no cursor is always valid


def one_step(access: Access, row: RunRow, name: str) -> list[Row]:
    """The step run of this name."""
    found = step_view(tenant=access.tenant, run_id=row.id, name=name)
    return [] if found is None else [found]


def batches_page(access: Access, row: RunRow, name: str, query: Query) -> Context:
    """A page of a map's batches; the first one for a cursor that is none."""
    for asked in (query.get("batches") or None, None):
        try:
            page = steps_page(
                tenant=access.tenant, run_id=row.id, step=name, limit=BATCHES, cursor=asked
            )
        except InvalidCursor:
            continue
        return {
            "rows": [told(batch) for batch in page.items],
            "next_cursor": page.next_cursor,
            "is_later": asked is not None,
        }
    raise AssertionError  # no cursor is always valid


def drawn(graph: VersionGraph, nodes: list[Node], query: Query) -> Picture:
    """The graph, by layers where it is large, or the one that was asked for."""
    edges = [(parent, step.ordinal) for step in graph.steps for parent in step.parents]
    layer, state = query.get("layer", ""), query.get("state", "")
    return picture(
        nodes,
        edges,
        layer=int(layer) if layer.isdecimal() else None,
        kept={"state": state} if state in STEP_STATES else {},
    )


def attempts(access: Access, run_id: UUID, name: str) -> Context:
    """The last attempts of a step, and whether there were more; none where there is no such step."""
    try:
        page = newest_attempts(tenant=access.tenant, run_id=run_id, name=name, limit=ATTEMPTS)
    except StepNotFound:
        return {}
    rows = [{**row, "error": decoded(row["error"])} for row in page.items]
    return {"attempts": rows, "older_attempts": page.next_cursor is not None}


def events(access: Access, arguments: Arguments, query: Query) -> Context:
    """A page of the run's events, oldest first."""
    run_id = arguments["run_id"]
    cursor = query.get("cursor") or None
    try:
        page = events_page(tenant=access.tenant, run_id=run_id, limit=EVENTS, cursor=cursor)
    except InvalidCursor:
        page = events_page(tenant=access.tenant, run_id=run_id, limit=EVENTS)
    rows: list[Row] = [{**item} for item in page.items]
    for row in rows:
        row["data"] = decoded(row["data"])
        state = str(row["type"]).partition(".")[2]
        row["state"] = EVENT_COLOURS.get(state, state)
    return {"rows": rows, "next_cursor": page.next_cursor}


def decoded(value: object) -> Any:
    """What a stored payload says; None for null."""
    return value.value if isinstance(value, Payload) else value


def shown(value: object) -> tuple[Any, bool]:
    """A payload to be printed, and whether it is too long for that."""
    try:
        if isinstance(value, Payload) and len(value.text) > SHOWN_JSON:
            return value.text[:SHOWN_JSON], True
    except PayloadUnavailable:
        pass  # the page says why
    return value, False


def told(step: Row) -> Row:
    """A StepRun with its error decoded, and with the words for what it is doing."""
    return {**step, "error": decoded(step["error"])}


def node(step: Row) -> Node:
    """A step for the graph; its note is how long it took, or which attempt runs."""
    since: datetime | None = step["started_at"]
    until: datetime | None = step["finished_at"]
    over = step["state"] in OVER
    took = (until - since).total_seconds() if since and until else 0.0 if over else None
    note = step["state"]
    share = None
    if (counts := step.get("map")) and step["state"] == "running":
        share = counts["done"] / counts["total"] if counts["total"] else 0.0
        note = f"{counts['done']:,} of {counts['total']:,} items"
    elif since and until:
        note = f"{step['state']} · {duration(took)}"
    elif step["state"] in ("running", "waiting") and step["max_attempts"] > 1:
        note = f"{step['state']} · {step['attempt']} of {step['max_attempts']}"
    elif step["waiting"] and step["waiting"]["reason"] != "queue":
        note = f"{step['state']} · {step['waiting']['reason'].replace('_', ' ')}"
    if step.get("undo"):
        note = f"{step['state']} · {UNDO_NOTES[step['undo']['state']]}"
    return Node(step["name"], step["state"], note, took, share)


RUN = Page(
    "run",
    "dashboard/run.html",
    ("head", "banner", "signals", "body"),
    context,
    about_run=True,
    argument="run_id",
)
