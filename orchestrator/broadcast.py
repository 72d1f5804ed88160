"""Pushes: "something changed" to the channel layer's groups.  Losing one costs a poll."""

from __future__ import annotations

import logging
from collections.abc import Collection
from uuid import UUID

from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

MANY = 200
"""Above so many runs in one push, they are not named."""


def group(tenant_id: int) -> str:
    """The channel group of a tenant."""
    return f"tenant.{tenant_id}"


async def tell(tenant_id: int, run_ids: Collection[UUID], seq: int) -> None:
    """Tell a tenant's pages that runs changed, up to event `seq`.  Never raises."""
    runs = [str(run_id) for run_id in run_ids] if len(run_ids) <= MANY else None
    layer = get_channel_layer()
    try:
        if layer is not None:
            await layer.group_send(group(tenant_id), {"type": "changed", "runs": runs, "seq": seq})
    except Exception as error:
        logger.warning("no push for tenant %s: %s", tenant_id, error)
