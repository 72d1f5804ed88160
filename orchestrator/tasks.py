"""Celery's doorway: the one task is "look for work"; and the life of worker processes."""

from __future__ import annotations

import logging
import mmap
import os
from typing import Any

from celery import current_app, shared_task
from celery.signals import (
    celeryd_after_setup,
    worker_process_init,
    worker_process_shutdown,
    worker_shutting_down,
)

from orchestrator import tracing
from orchestrator.conf import conf
from orchestrator.dispatch import EXECUTE
from orchestrator.domain.masking import mask_output
from orchestrator.executor.child import Child
from orchestrator.executor.lifeline import die_with_parent
from orchestrator.handlers import registry
from tenants import fence

logger = logging.getLogger(__name__)

_draining = mmap.mmap(-1, 1)
"""One byte that the worker's main process shares with the children it forks: 1 = stopping."""
_queues: list[str] = []
_child: Child | None = None


@celeryd_after_setup.connect
def _prepare(sender: str, instance: Any, **_: object) -> None:
    """Before the children are forked: which queues this worker serves, its role in the database, and
    its handlers imported once."""
    fence.serve_as(fence.Standing(fence.WORKER))
    _queues[:] = sorted(current_app.amqp.queues.consume_from)
    registry.load()


@worker_process_init.connect
def _begin(**_: object) -> None:
    """In a new child: never outlive the main process, print no secrets, register."""
    global _child  # noqa: PLW0603  (one child for each process)
    die_with_parent(os.getppid())
    mask_output()
    tracing.start()
    _child = Child(
        conf=conf(), queues=list(_queues), registry=registry, is_draining=lambda: _draining[0]
    )
    _child.start()


@worker_shutting_down.connect
def _drain(**_: object) -> None:
    """In the main process: tell the children."""
    _draining[0] = 1


@worker_process_shutdown.connect
def _end(**_: object) -> None:
    """In a child that ends in order."""
    if _child is not None:
        _child.retire()


@shared_task(name=EXECUTE, ignore_result=True)
def execute() -> None:
    """Run whatever is ready, within every limit, until nothing is left."""
    if _child is not None:
        _child.execute()
