"""The parts beside the database: broker, channel layer, disk."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from typing import Any

import redis
from amqp.exceptions import NotFound  # type: ignore[import-untyped]
from django.conf import settings
from kombu.connection import Connection as BrokerConnection
from kombu.exceptions import ChannelError

from orchestrator.domain.health import Check, State
from orchestrator.embedded import paths
from orchestrator.selectors.health.looking import MEND

DEEP_BROKER = 10_000
"""Hints expire after ten seconds: more of them mean that nobody takes any."""
MOST_QUEUES = 20
_FIRST = ("io", "cpu")
queues: tuple[str, ...] = _FIRST
"""The queues that workers serve, as the last look at the workers saw them: those that all have first."""


def serve(names: Iterable[str]) -> None:
    """These are the queues that workers serve now."""
    global queues  # noqa: PLW0603  (parts are looked at side by side, and tell each other nothing else)
    queues = (*_FIRST, *sorted(set(names).difference(_FIRST)))[:MOST_QUEUES]


def broker() -> Check:
    """Whether it answers, and how many wake-ups nobody has taken."""
    options = dict(settings.CELERY_BROKER_TRANSPORT_OPTIONS)
    options |= {"socket_timeout": 1, "socket_connect_timeout": 1, "max_retries": 0}
    begun = time.perf_counter()
    with BrokerConnection(
        settings.CELERY_BROKER_URL, connect_timeout=1, transport_options=options
    ) as connection:
        connection.connect()
        connection.default_channel.close()
        took = time.perf_counter() - begun
        depths = {name: depth(connection, name) for name in queues}
    waiting = sum(depths.values())
    detail = f"{connection.transport.driver_type} answers in {took * 1000:.1f} ms; {waiting} wake-ups wait."
    if waiting > DEEP_BROKER:
        worst = max(depths, key=depths.__getitem__)
        mend = (
            f"See that workers serve the queue {worst}: they take {depths[worst]} wake-ups too few."
        )
        return Check("broker", State.DEGRADED, detail, mend)
    return Check("broker", State.OK, detail)


def depth(connection: Any, queue: str) -> int:
    """How many messages wait in a queue; 0 where there is none of this name."""
    channel = connection.channel()
    try:
        return int(channel.queue_declare(queue, passive=True).message_count)
    except (ChannelError, NotFound):
        return 0
    finally:
        channel.close()


def channel_layer() -> Check:
    """Whether it answers."""
    url = paths.channels_url()
    if url is None:
        detail = "Within this process only: pages of other web processes poll."
        return Check("channel_layer", State.DEGRADED, detail, "Set CHANNELS_URL to a Redis.")
    begun = time.perf_counter()
    with redis.Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
        client.ping()
    took = time.perf_counter() - begun
    return Check("channel_layer", State.OK, f"redis answers in {took * 1000:.1f} ms.")


def disk() -> Check:
    """How much of DATA_DIR's disk is free."""
    folder = paths.data_dir()
    while not folder.exists():
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    part = usage.free / usage.total
    detail = f"{usage.free / 2**30:.1f} GiB free of {usage.total / 2**30:.1f} GiB ({part:.0%})."
    if part < 0.02:
        return Check("disk", State.DOWN, detail, MEND["disk"])
    if part < 0.1:
        return Check("disk", State.DEGRADED, detail, MEND["disk"])
    return Check("disk", State.OK, detail)
