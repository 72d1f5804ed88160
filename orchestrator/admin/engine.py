"""What the engine owns, to be looked at alone: nothing of it can be changed here.

Large tables page without being counted, newest first by their key."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.http import HttpRequest
from django.utils.functional import cached_property

from orchestrator.models import Run, Schedule, Worker, Workflow
from tenants.admin import ReadOnlyAdmin
from tenants.models import QuotaChange

MOST_ROWS = 10_000
"""Rows behind which the admin's list does not look: its pages are numbered, and a number is a scan."""


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # it takes none when it runs
    """Pages of the first rows; no whole table is ever counted."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, at most so many."""
        rows: Any = self.object_list
        return int(rows.order_by()[:MOST_ROWS].count())


class EngineAdmin(ReadOnlyAdmin):
    """A table of the engine's."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    actions = None


@admin.register(Workflow)
class WorkflowAdmin(EngineAdmin):
    """Workflows."""

    list_display = ("name", "tenant", "newest", "paused_at", "archived_at")
    search_fields = ("name", "tenant__slug")
    list_select_related = ("tenant",)
    ordering = ("-id",)


@admin.register(Run)
class RunAdmin(EngineAdmin):
    """Runs; their pages in the dashboard show their steps."""

    list_display = ("id", "tenant", "workflow", "state", "created_at", "started_at", "finished_at")
    list_select_related = ("tenant", "workflow")
    ordering = ("-id",)
    fields = (
        *list_display, "priority", "labels", "error", "start_at", "deadline_at", "closing", "paused_at",
    )  # fmt: skip


@admin.register(Schedule)
class ScheduleAdmin(EngineAdmin):
    """Schedules."""

    list_display = ("name", "tenant", "workflow", "cron", "interval", "next_at", "paused_at")
    search_fields = ("name", "tenant__slug")
    list_select_related = ("tenant", "workflow")
    ordering = ("-id",)


@admin.register(Worker)
class WorkerAdmin(EngineAdmin):
    """Processes that run steps."""

    list_display = ("name", "host", "state", "queues", "in_flight", "started_at", "seen_at")
    ordering = ("-id",)

    def get_fields(self, request: HttpRequest, obj: Worker | None = None) -> tuple[str, ...]:
        """What the list shows."""
        return self.list_display


@admin.register(QuotaChange)
class QuotaChangeAdmin(EngineAdmin):
    """The history of limits."""

    list_display = (
        "at",
        "tenant",
        "name",
        "kind",
        "before",
        "after",
        "expires_at",
        "reason",
        "actor",
    )
    search_fields = ("tenant__slug", "name", "reason")
    list_select_related = ("tenant",)
    ordering = ("-id",)
    fields = list_display
