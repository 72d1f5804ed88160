"""What is told of alerts: a line, a text, a document.  Nothing in it but what the alerts' pages show."""

from __future__ import annotations

import json
from collections.abc import Sequence

from orchestrator.conf import conf
from orchestrator.domain.channels import Notice
from orchestrator.domain.times import format_time
from orchestrator.services.receivers import Message
from orchestrator.store.outbox import Due, Member

MOST_SHOWN = 20
"""Alerts that a message tells of; the rest are counted."""
WORDS = {
    Notice.FIRING: "Firing",
    Notice.REPEAT: "Still firing",
    Notice.RESOLVED: "Resolved",
    Notice.TEST: "Test",
}


def compose(due: Due, members: Sequence[Member]) -> Message:
    """The message of a due notification about these alerts."""
    notice = Notice(due.notice)
    shown = members[:MOST_SHOWN]
    owner = due.tenant or "server"
    document: dict[str, object] = {
        "id": str(due.id),
        "notice": notice,
        "tenant": due.tenant,
        "channel": due.channel,
        "group": dict(json.loads(due.group_key)),
        "alert_count": len(members),
        "alerts": [_alert(due, one) for one in shown],
    }
    if notice is Notice.TEST:
        text = f"This is a test of the channel {due.channel}. Nothing is wrong."
        subject = f"[{owner}] Test of {due.channel}"
        return Message(str(due.id), subject, text, document, owner=due.tenant_id)
    word = WORDS[notice]
    first = members[0].name
    about = first if len(members) == 1 else f"{len(members)} alerts: {first} …"
    lines = [line for one in shown for line in _lines(due, one)]
    if len(members) > len(shown):
        lines.append(f"and {len(members) - len(shown)} more")
    worst = "critical" if any(one.severity == "critical" for one in members) else "warning"
    tone = "resolved" if notice is Notice.RESOLVED else worst
    subject, text = f"[{owner}] {word}: {about}", "\n".join(lines)
    return Message(str(due.id), subject, text, document, tone, due.tenant_id)


def _lines(due: Due, one: Member) -> list[str]:
    labels = json.loads(one.labels)
    said = "".join(f" {key}={value}" for key, value in sorted(labels.items()))
    lines = [f"{one.name} ({one.severity}, {one.state}){said}", f"  {one.summary}"]
    if one.state == "resolved" and one.resolved_at is not None:
        by = f" by {one.resolved_by}" if one.resolved_by else ""
        lines.append(f"  from {format_time(one.started_at)} to {format_time(one.resolved_at)}{by}")
    else:
        lines.append(f"  since {format_time(one.started_at)}")
    if url := _url(due, one):
        lines.append(f"  {url}")
    return lines


def _url(due: Due, one: Member) -> str | None:
    base = conf().public_url.rstrip("/")
    if not base:
        return None
    if due.tenant is None:
        return f"{base}/staff/alerts/{one.id}/"
    return f"{base}/t/{due.tenant}/alerts/{one.id}/"


def _alert(due: Due, one: Member) -> dict[str, object]:
    return {
        "id": str(one.id),
        "rule": one.rule,
        "name": one.name,
        "labels": json.loads(one.labels),
        "severity": one.severity,
        "state": one.state,
        "value": one.value,
        "threshold": one.threshold,
        "unit": one.unit,
        "summary": one.summary,
        "run_ids": [str(run) for run in one.run_ids],
        "started_at": format_time(one.started_at),
        "fired_at": one.fired_at and format_time(one.fired_at),
        "acknowledged_by": one.acknowledged_by,
        "resolved_at": one.resolved_at and format_time(one.resolved_at),
        "resolved_by": one.resolved_by,
        "url": _url(due, one),
    }
