"""Repair by hand from a page: pause, resume, retry, complete, skip.  Operators may; the services say
what the state allows."""

from __future__ import annotations

from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from dashboard.views.actions import actor_of, carry_out
from dashboard.views.show import back_with
from orchestrator.domain import jsonvalue
from orchestrator.services import actions, pauses, repairs
from tenants.access import Access


@login_required
@require_POST
def run_action(request: HttpRequest, slug: str, run_id: str, action: str) -> HttpResponseBase:
    """Pause, resume or retry a run (operators)."""
    actor = actor_of(request)
    from_step = request.POST.get("from_step") or None

    def act(access: Access) -> None:
        if action == "pause":
            pauses.pause_run(tenant=access.tenant, run_id=run_id, actor=actor)
        elif action == "resume":
            pauses.resume_run(tenant=access.tenant, run_id=run_id, actor=actor)
        else:
            body = {} if from_step is None else {"from_step": from_step}
            repairs.retry_run(tenant=access.tenant, run_id=run_id, body=body, actor=actor)

    said = {
        "pause": "The run is paused: nothing new of it starts.",
        "resume": "The run goes on.",
        "retry": "The run runs again" + (f" from {from_step}." if from_step else "."),
    }[action]
    return carry_out(request, slug, act, said) or redirect("run", slug=slug, run_id=run_id)


@login_required
@require_POST
def step_action(
    request: HttpRequest, slug: str, run_id: str, step: str, action: str
) -> HttpResponseBase:
    """Retry, complete or skip a step (operators)."""
    actor = actor_of(request)
    output = request.POST.get("output", "")

    def act(access: Access) -> None:
        tenant = access.tenant
        if action == "retry":
            repairs.retry_step(tenant=tenant, run_id=run_id, name=step, actor=actor)
        elif action == "skip":
            repairs.skip_step(tenant=tenant, run_id=run_id, name=step, actor=actor)
        else:
            body = {"output": jsonvalue.decode(output or "null")}
            repairs.complete_step(tenant=tenant, run_id=run_id, name=step, body=body, actor=actor)

    said = {
        "retry": f"{step} runs again.",
        "complete": f"{step} was completed by hand.",
        "skip": f"{step} was skipped by hand.",
    }[action]

    def refuse(wrong: str) -> HttpResponseBase:
        typed = {"step": step, "output": output, "wrong": wrong}
        query = f"?{urlencode({'step': step})}#step-{step}"
        return back_with(request, typed, "run", query=query, slug=slug, run_id=run_id)

    done = carry_out(request, slug, act, said, refuse if action == "complete" else None)
    return done or redirect("run", slug=slug, run_id=run_id)


@login_required
@require_POST
def workflow_action(request: HttpRequest, slug: str, name: str, action: str) -> HttpResponseBase:
    """Pause or resume a workflow (operators)."""
    actor = actor_of(request)

    def act(access: Access) -> None:
        do = pauses.pause_workflow if action == "pause" else pauses.resume_workflow
        do(tenant=access.tenant, name=name, actor=actor)

    said = "The workflow is paused: its runs wait." if action == "pause" else "Its runs go on."
    return carry_out(request, slug, act, said) or redirect("workflow", slug=slug, name=name)


@login_required
@require_POST
def retry_letters(request: HttpRequest, slug: str) -> HttpResponseBase:
    """Retry a group of dead letters, those of a workflow, or all (operators)."""
    given: dict[str, object] = {
        key: value
        for key in ("fingerprint", "workflow", "rate")
        if (value := request.POST.get(key, ""))
    }
    if not given.keys() - {"rate"}:
        given["all"] = True

    def act(access: Access) -> None:
        actions.retry_dead_letters(tenant=access.tenant, body=given, actor=actor_of(request))

    said = "They are being retried, as fast as was asked for."
    return carry_out(request, slug, act, said) or redirect("dead_letters", slug=slug)
