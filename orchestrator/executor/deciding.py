"""A slice's control work: with its payloads, and put off where something does not answer."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import psycopg

from orchestrator.executor import control, payloads, secrets
from orchestrator.executor.plans import Plan
from orchestrator.executor.waits import Means
from orchestrator.store.payloads import PayloadUnreadable
from orchestrator.store.settling import Settled
from orchestrator.store.work import Claimed, Verdict

if TYPE_CHECKING:
    from orchestrator.executor.child import Child

logger = logging.getLogger(__name__)


def decide(child: Child, plan: Plan, claimed: Claimed) -> Verdict | Settled | None:
    """What becomes of control work; None: it is put off, and claimed again after a second.

    A payload that is gone fails what needs it; one that the storage does not give now is waited for."""
    means = Means(child.connection, child.plans, child.conf.payload_bytes)
    try:
        whole = payloads.whole(child.connection(), claimed, ())
        return secrets.hidden(control.decide(plan, whole, means))
    except payloads.Unreadable as fault:
        if fault.gone and (verdict := control.unreadable(plan, claimed, fault)) is not None:
            return verdict
        logger.warning("control work is put off: %s", fault)
    except PayloadUnreadable as error:
        logger.warning("control work is put off: %s", error)
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        child.disconnected(error)
    return None
