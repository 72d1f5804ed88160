"""The socket of a page: told that something changed, it sends the sections that now read otherwise."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth import HASH_SESSION_KEY, get_user_model
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.db import Error as DatabaseError
from django.utils.crypto import constant_time_compare

from dashboard.live.page import Page, framed, sections_html, surroundings, swaps
from dashboard.live.snapshots import MIN_INTERVAL_S, Snapshots, in_thread
from dashboard.pages import PAGES
from orchestrator.broadcast import group
from orchestrator.domain.errors import MillraceError
from tenants import fence
from tenants.access import Access, access_tenant
from tenants.errors import TenantsError

logger = logging.getLogger(__name__)

HEARTBEAT_S = 2.0
"""Silence is never longer: the page shows how old it is."""
ACCESS_S = 2.5
"""How long an answer to "may this person still see it?" holds.  Whoever may not is closed out within 3 s;
what is left of them is for asking."""
SIGNED_OUT = 4401
NOT_FOUND = 4404
FAULT = 1011
LONGEST_QUERY = 2000

snapshots = Snapshots()


@dataclass(frozen=True, slots=True)
class Watch:
    """What one socket shows."""

    page: Page
    slug: str
    arguments: dict[str, str]
    query: dict[str, str]

    @property
    def key(self) -> tuple[object, ...]:
        """Equal for sockets that show the same."""
        arguments, query = sorted(self.arguments.items()), sorted(self.query.items())
        return (self.page.name, self.slug, tuple(arguments), tuple(query))


class LiveConsumer(AsyncWebsocketConsumer):
    """One page of one person.  Closes with 4401 when they are signed out, 4404 when it is not
    (or no longer) theirs to see; both look the same to a stranger: the handshake is refused."""

    watch: Watch
    access: Access

    async def connect(self) -> None:
        """Admit whom a request for the page would admit; then a snapshot, then changes."""
        self._loops: list[asyncio.Task[None]] = []
        self._sent: dict[str, str] = {}
        self._dirty = asyncio.Event()
        self._changed_at = 0.0
        self._check_at = 0.0
        route = dict(self.scope["url_route"]["kwargs"])
        page = PAGES.get(route.pop("page"))
        query = self.scope.get("query_string", b"").decode(errors="replace")[:LONGEST_QUERY]
        slug = route.pop("slug")
        if page is None or set(route) != {page.argument} - {None}:
            await self.close(NOT_FOUND)
            return
        self.watch = Watch(page, slug, route, dict(parse_qsl(query)))
        if (code := await self._refusal()) is not None:
            await self.close(code)
            return
        await self.accept()
        await self.channel_layer.group_add(group(self.access.tenant.pk), self.channel_name)
        self._mark_changed()
        self._loops = [asyncio.create_task(loop) for loop in (self._push(), self._guard())]

    async def disconnect(self, code: int) -> None:
        """Stop pushing."""
        for loop in self._loops:
            loop.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await loop
        if self._loops:
            layer = self.channel_layer
            await layer.group_discard(group(self.access.tenant.pk), self.channel_name)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Pages say nothing over the socket; what they do goes over HTTP."""

    async def changed(self, event: dict[str, Any]) -> None:
        """The tenant's runs changed (a message of `orchestrator.broadcast`)."""
        if self.watch.page.concerns(self.watch.arguments, event.get("runs")):
            self._mark_changed()

    def _mark_changed(self) -> None:
        self._changed_at = time.monotonic()
        self._dirty.set()

    async def _push(self) -> None:
        """Send what changed, at most four times a second, and a heartbeat where nothing did."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._dirty.wait(), HEARTBEAT_S)
            self._dirty.clear()
            began = time.monotonic()
            try:
                await self._send_changes()
            except (MillraceError, TenantsError):
                await self._end(NOT_FOUND)
                return
            except (DatabaseError, TimeoutError) as error:
                # the page sees its age grow; the next heartbeat tries again
                logger.warning("no snapshot of %s: %s", self.watch.page.name, error)
            except OSError:
                return  # the person has gone while this was sent
            except Exception:
                # a fault of ours: the page falls back to asking, and says so
                logger.exception("the page %s cannot be pushed", self.watch.page.name)
                await self._end(FAULT)
                return
            # a page that is slow to read (a run of 10,000 steps) is read less often
            await asyncio.sleep(max(MIN_INTERVAL_S, time.monotonic() - began))

    async def _guard(self) -> None:
        """Close once this person may not see the page any more.  A loop of its own: neither a quiet page
        nor one that is slow to read puts it off."""
        code = None
        while code is None:
            await asyncio.sleep(self._check_at - time.monotonic())
            try:
                code = await self._refusal()
            except Exception:
                logger.exception("access to %s cannot be checked", self.watch.page.name)
                code = FAULT
        await self._end(code)

    async def _end(self, code: int) -> None:
        """Close, and send nothing after that."""
        for loop in self._loops:
            if loop is not asyncio.current_task():
                loop.cancel()
        with contextlib.suppress(OSError):  # the person has gone meanwhile
            await self.close(code)

    async def _send_changes(self) -> None:
        key = (*self.watch.key, self.access.role)
        # time alone changes a page too (rates, ages of leases), so a heartbeat reads anew
        wanted = max(self._changed_at, time.monotonic() - HEARTBEAT_S / 2)
        sections = await snapshots.get(key, self._read, wanted)
        fresh = {name: html for name, html in sections.items() if self._sent.get(name) != html}
        self._sent = sections
        if fresh:
            await self.send(text_data=swaps(fresh))
        else:
            await self.send(text_data=json.dumps({"heartbeat": True}))

    async def _read(self) -> dict[str, str]:
        return await in_thread(read_sections, self.watch, self.access)

    async def _refusal(self) -> int | None:
        """Why this person may not (any longer) see the page, as a close code."""
        asked_before, began = self._check_at > 0, time.monotonic()
        self._check_at = began + ACCESS_S
        try:
            code, access = await in_thread(authorise, self.scope, self.watch)
        except (DatabaseError, TimeoutError) as error:
            logger.warning("access to %s not checked: %s", self.watch.page.name, error)
            self._check_at = began + HEARTBEAT_S
            return None if asked_before else NOT_FOUND
        if access is not None:
            self.access = access
        return code


def read_sections(watch: Watch, access: Access) -> dict[str, str]:
    """The page's sections as they read now."""
    with fence.within(access.tenant.pk):
        context = watch.page.context(access, watch.arguments, watch.query)
        return sections_html(watch.page, framed(context, surroundings(access)))


def _is_theirs(session: SessionBase, user: User) -> bool:
    """Whether the session was begun under the person's present password."""
    begun = session.get(HASH_SESSION_KEY, "")
    hashes = (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    return any(constant_time_compare(begun, one) for one in hashes)


def authorise(scope: dict[str, Any], watch: Watch) -> tuple[int | None, Access | None]:
    """As for a request: a session that still exists, a user who is active, a member, and the thing
    itself is the tenant's."""
    session = scope["session"]
    known = scope["user"]
    if not known.is_authenticated or not session.exists(session.session_key):
        return SIGNED_OUT, None
    user: User | None = get_user_model().objects.filter(pk=known.pk, is_active=True).first()
    if user is None or not _is_theirs(session, user):
        return SIGNED_OUT, None
    try:
        access = access_tenant(user=user, slug=watch.slug, role=watch.page.role)
    except TenantsError:
        return NOT_FOUND, None
    return None, access
