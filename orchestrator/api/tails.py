"""Following tenants' events: each tenant's newest are read once for all streams of this process that
follow it.  Who is behind reads the table by itself, until it is no longer.

A push of the channel layer wakes the reading, and so does a question each second for the last positions
of all tenants that are followed: without pushes everything is as complete, and a second later."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from channels.layers import get_channel_layer
from django.db import Error

from orchestrator.api.streams import frame, in_thread, within
from orchestrator.broadcast import group, hints
from orchestrator.selectors.events import (
    Heard,
    Told,
    hear_newest,
    is_same,
    last_position,
    last_positions,
)
from orchestrator.store.events import EventQuery

logger = logging.getLogger(__name__)

POLL_S = 1.0
PAGE = 500
"""Events that one reading of a tenant's newest takes."""
HELD = 1000
"""Events that wait for one stream; beyond them it reads the table when it comes to it."""
PARTITIONS_APART = timedelta(days=1)
"""How much older than the last event that was read a later one may say it is, by far."""


@dataclass(frozen=True, slots=True)
class Item:
    """An event as it is sent to everyone."""

    seq: int
    type: str
    frame: bytes


def item(event: Told) -> Item:
    """An event as it is sent."""
    return Item(event.seq, event.type, frame(event.text, ident=event.seq, event=event.type))


class Wish:
    """What a follower wants to hear of."""

    def __init__(self, query: EventQuery) -> None:
        self.run_id = None if query.run_id is None else str(query.run_id)
        self.workflow = query.workflow
        self.types = frozenset(query.types)
        self.families = frozenset(one[:-2] for one in query.types if one.endswith(".*"))

    def fits(self, event: Told) -> bool:
        """Whether it is about this event."""
        if self.run_id is not None and event.run_id != self.run_id:
            return False
        if self.workflow is not None and event.workflow != self.workflow:
            return False
        if not self.types:
            return True
        return event.type in self.types or event.type.partition(".")[0] in self.families


class Follower:
    """One stream's place at a tenant's tail.  `waiting` are the events behind `position` that came
    since it began to listen; up to `behind` it has to read the table."""

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.behind: int | None = None
        """None: it does not listen yet, or more came than is held for it."""
        self.broken = False
        """Positions that it knows were given out again."""
        self.changed = asyncio.Event()
        self._waiting: list[Item] = []

    def take(self, position: int) -> list[Item]:
        """What waits behind a position."""
        taken, self._waiting = self._waiting, []
        return [one for one in taken if one.seq > position]

    def put(self, events: Sequence[Item]) -> None:
        """More has happened."""
        if self.behind is not None:
            if len(self._waiting) + len(events) > HELD:
                self.behind = None
                self._waiting = []
            else:
                self._waiting += events
        self.changed.set()

    def listen(self, position: int) -> None:
        """From now on everything behind `position` is put here."""
        self.behind = position
        self._waiting = []


class Tail:
    """A tenant's newest events, for its followers."""

    def __init__(self, tenant_id: int) -> None:
        self.tenant_id = tenant_id
        self.position: int | None = None
        """Everything up to here has been given to who listened; None: not known yet."""
        self.followers: set[Follower] = set()
        self._of_run: defaultdict[str, set[Follower]] = defaultdict(set)
        self._of_all: set[Follower] = set()
        self._seen: tuple[int, datetime] | None = None
        self._doubtful = False
        self._dirty = False
        self._reading: asyncio.Task[None] | None = None

    def add(self, follower: Follower) -> None:
        """One more follows."""
        self.followers.add(follower)
        run_id = follower.wish.run_id
        (self._of_all if run_id is None else self._of_run[run_id]).add(follower)

    def remove(self, follower: Follower) -> None:
        """One less."""
        self.followers.discard(follower)
        self._of_all.discard(follower)
        run_id = follower.wish.run_id
        if run_id is not None and run_id in self._of_run:
            self._of_run[run_id].discard(follower)
            if not self._of_run[run_id]:
                del self._of_run[run_id]

    async def listen(self, follower: Follower) -> int:
        """Let it listen; answers up to where it has to read the table.  Raises database errors."""
        if self.position is None:
            position = await within(self.tenant_id, last_position, tenant_id=self.tenant_id)
            if self.position is None:  # another may have asked meanwhile
                self.position = position
                if self._dirty:
                    self.wake()
        follower.listen(self.position)
        return self.position

    def wake(self, seq: int | None = None) -> None:
        """Something happened; where it is known that it is the position `seq`, perhaps nothing did."""
        if seq is not None and seq == self.position and not self._doubtful:
            return
        self._dirty = True
        if self._reading is None and self.position is not None:
            self._reading = asyncio.create_task(self._read())

    def doubt(self) -> None:
        """The database was away: when it answers again, it is looked whether it kept what it had said."""
        self._doubtful = True

    def close(self) -> None:
        """Nobody follows any more."""
        if self._reading is not None:
            self._reading.cancel()

    async def _read(self) -> None:
        try:
            while self._dirty:
                self._dirty = False
                await self._read_once()
        except (Error, psycopg.Error) as error:
            self._doubtful = True
            logger.warning("events of tenant %s are not read: %s", self.tenant_id, error)
        except Exception:
            self._doubtful = True
            logger.exception("events of tenant %s are not read", self.tenant_id)
        finally:
            self._reading = None

    async def _read_once(self) -> None:
        assert self.position is not None
        doubtful, self._doubtful = self._doubtful, False  # who doubts meanwhile is not overheard
        heard, made = await within(self.tenant_id, self._hear, self.position, doubtful)
        if heard.missed:
            logger.warning("tenant %s: positions of events were given out again", self.tenant_id)
            self.position, self._seen = heard.last, None
            for follower in self.followers:
                follower.broken = True
                follower.changed.set()
            return
        if heard.upto < heard.last:
            self._dirty = True
        if made:
            self._give(heard.events, made)
            self._seen = (heard.events[-1].seq, datetime.fromisoformat(heard.events[-1].at))
        self.position = heard.upto

    def _hear(self, position: int, doubtful: bool) -> tuple[Heard, list[Item]]:
        """In a thread.  After the database was away it is looked whether it kept what it had said."""
        since = None
        if self._seen is not None:
            seen, at = self._seen
            since = at - PARTITIONS_APART
            if doubtful and not is_same(tenant_id=self.tenant_id, position=seen, at=at):
                last = last_position(tenant_id=self.tenant_id)
                return Heard([], position, last, missed=True), []
        heard = hear_newest(tenant_id=self.tenant_id, position=position, at=since, limit=PAGE)
        return heard, [item(event) for event in heard.events]

    def _give(self, events: Sequence[Told], made: Sequence[Item]) -> None:
        for follower in self._of_all:
            wish = follower.wish
            fitting = [one for event, one in zip(events, made, strict=True) if wish.fits(event)]
            if fitting:
                follower.put(fitting)
        if not self._of_run:
            return
        by_run: defaultdict[str, list[int]] = defaultdict(list)
        for place, event in enumerate(events):
            if event.run_id is not None and event.run_id in self._of_run:
                by_run[event.run_id].append(place)
        for run_id, places in by_run.items():
            for follower in self._of_run[run_id]:
                wish = follower.wish
                fitting = [made[place] for place in places if wish.fits(events[place])]
                if fitting:
                    follower.put(fitting)


class Tails:
    """Those of one event loop."""

    def __init__(self) -> None:
        self._tails: dict[int, Tail] = {}
        self._changed = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def follow(self, tenant_id: int, query: EventQuery) -> tuple[Tail, Follower]:
        """A new follower of a tenant, which does not listen yet."""
        tail = self._tails.get(tenant_id)
        if tail is None:
            tail = self._tails[tenant_id] = Tail(tenant_id)
            self._changed.set()
        for name, work in (("poll", self._poll), ("hear", self._hear)):
            if name not in self._tasks or self._tasks[name].done():
                self._tasks[name] = asyncio.create_task(work())
        follower = Follower(Wish(query))
        tail.add(follower)
        return tail, follower

    def leave(self, tail: Tail, follower: Follower) -> None:
        """It follows no longer.  When nobody does, the tasks end by themselves: they are not cancelled,
        since the client of Valkey swallows that while it connects."""
        tail.remove(follower)
        if tail.followers or self._tails.get(tail.tenant_id) is not tail:
            return
        del self._tails[tail.tenant_id]
        tail.close()
        self._changed.set()

    async def _poll(self) -> None:
        """Ask for the last positions each second, while someone follows."""
        while True:
            await asyncio.sleep(POLL_S)
            if not self._tails:
                return
            try:
                found = await in_thread(last_positions, list(self._tails))
            except (Error, psycopg.Error) as error:
                logger.warning("no positions of events: %s", str(error).strip())
                for one in self._tails.values():
                    one.doubt()
                continue
            except Exception:
                logger.exception("no positions of events")
                continue
            for tenant_id, seq in found.items():
                if tail := self._tails.get(tenant_id):
                    tail.wake(seq)

    async def _hear(self) -> None:
        """Listen to pushes while someone follows; when the channel layer fails, again after a second."""
        while self._tails:
            try:
                await self._listen(get_channel_layer())
            except Exception as error:
                logger.warning("no pushes are heard: %r", error)
                await asyncio.sleep(POLL_S)

    async def _listen(self, layer: Any) -> None:
        channel = await layer.new_channel()
        joined: set[int] = set()
        self._changed.set()
        try:
            async with asyncio.TaskGroup() as both:
                receiving = both.create_task(self._receive(layer, channel))
                # cancelled before it begins, it would leave its channel behind
                await asyncio.sleep(0)
                await self._join(layer, channel, joined)
                receiving.cancel()
        finally:
            with suppress(Exception):
                async with asyncio.timeout(POLL_S):
                    for tenant_id in joined:
                        for name in (hints(tenant_id), group(tenant_id)):
                            await layer.group_discard(name, channel)

    async def _join(self, layer: Any, channel: str, joined: set[int]) -> None:
        """Be in the groups of the tenants that are followed, until there are none."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            for tenant_id in set(self._tails) - joined:
                joined.add(tenant_id)
                for name in (hints(tenant_id), group(tenant_id)):
                    await layer.group_add(name, channel)
                if tail := self._tails.get(tenant_id):
                    tail.wake()  # for what was said before
            for tenant_id in joined - set(self._tails):
                for name in (hints(tenant_id), group(tenant_id)):
                    await layer.group_discard(name, channel)
                joined.discard(tenant_id)
            if not self._tails:
                return

    async def _receive(self, layer: Any, channel: str) -> None:
        while True:
            message = await layer.receive(channel)
            tail = self._tails.get(message.get("tenant", 0))
            seq = message.get("seq")  # the clock's have one, and mostly come behind a hint
            if tail is not None and not (seq and tail.position and seq <= tail.position):
                tail.wake()


_tails: WeakKeyDictionary[asyncio.AbstractEventLoop, Tails] = WeakKeyDictionary()


def here() -> Tails:
    """Those of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _tails.get(loop)
    if found is None:
        found = _tails[loop] = Tails()
    return found
