"""The two ends of `events`, each a process of its own beside the system.

`write TENANT RATE SECONDS`: commits events of a tenant every 5 ms, each time saying afterwards what a
worker says; answers `[[last position, moment of the commit's answer], …]`.
`listen TENANT`: hears what the channel layer says of it until its input ends; answers the moments."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import django
import psycopg
from channels.layers import get_channel_layer

from orchestrator.broadcast import group, hint, hints

TICK_S = 0.005
WRITE = """
WITH l AS (UPDATE tenant_load SET seq = seq + %(n)s WHERE tenant_id = %(tenant)s RETURNING seq),
     r AS (SELECT array_agg(id) AS ids FROM run WHERE tenant_id = %(tenant)s)
INSERT INTO event (tenant_id, seq, at, type, run_id, ordinal, batch, attempt, value_s)
SELECT %(tenant)s, l.seq - %(n)s + g, clock_timestamp(),
       (ARRAY['step.ready', 'step.running', 'step.succeeded'])[1 + g %% 3],
       r.ids[1 + g %% cardinality(r.ids)], 0, 0, 1, 0.01
  FROM l, r, generate_series(1, %(n)s) g
RETURNING seq
"""


def write(tenant: int, rate: int, seconds: float) -> list[tuple[int, float]]:
    """See above."""
    commits: list[tuple[int, float]] = []
    values = {"tenant": tenant, "n": round(rate * TICK_S)}
    with psycopg.connect(os.environ["SYSTEM_DATABASE_URL"], autocommit=True) as link:
        began = time.monotonic()
        for tick in range(round(seconds / TICK_S)):
            time.sleep(max(0.0, began + tick * TICK_S - time.monotonic()))
            positions = link.execute(WRITE, values).fetchall()
            commits.append((max(seq for (seq,) in positions), time.monotonic()))
            hint((tenant,))
        time.sleep(1.0)  # the last hints leave
    return commits


async def listen(tenant: int) -> list[float]:
    """See above."""
    over = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    heard: list[float] = []
    layer = get_channel_layer()
    channel = await layer.new_channel()
    for name in (group(tenant), hints(tenant)):
        await layer.group_add(name, channel)
    print("ready", file=sys.stderr, flush=True)

    async def hear() -> None:
        while True:
            await layer.receive(channel)
            heard.append(time.monotonic())

    hearing = asyncio.create_task(hear())
    await over
    hearing.cancel()
    await asyncio.gather(hearing, return_exceptions=True)
    return heard


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
    django.setup()
    what, *numbers = sys.argv[1:]
    if what == "write":
        found: object = write(int(numbers[0]), int(numbers[1]), float(numbers[2]))
    else:
        found = asyncio.run(listen(int(numbers[0])))
    json.dump(found, sys.stdout)
