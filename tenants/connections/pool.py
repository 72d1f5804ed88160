"""A process's sessions to its tenants' databases: none in advance, kept for a moment between steps.

What is kept is libpq's own connection, reset by the server and without the Python object around it:
each step gets a new one, so that nothing that code has set on it can reach the next step.  Whoever
waits holds a connection of the engine's count, so there is no queue here: a step that was refused
asks again until its time is up."""

from __future__ import annotations

import logging
import os
import random
import select
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import psycopg
from psycopg import pq

from tenants.connections import addresses, external
from tenants.connections.addresses import Address, Connection

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn

logger = logging.getLogger(__name__)

IDLE_S = 0.5
"""How long a session may be kept unused: another process may need the role's place."""
FRESH_S = 1.0
"""How long an address is used before it is read again."""
CONNECTS_AT_ONCE = 16
_SELF = b"""
SELECT current_setting('max_prepared_transactions') <> '0',
       EXISTS (SELECT FROM pg_db_role_setting s, unnest(s.setconfig) c
                WHERE s.setrole = (SELECT oid FROM pg_roles WHERE rolname = current_user)
                  AND c NOT LIKE 'temp_file_limit=%')
"""
_PREPARED = b"""
SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts
 WHERE owner = current_user AND database = current_database()
"""


class ConnectionRefused(Exception):
    """PostgreSQL gave the tenant no connection within the time that a step waits for one."""


@dataclass(frozen=True, slots=True, eq=False)
class Kept:
    """A session, and what it was made with."""

    raw: PGconn
    address: Address
    since: float = 0.0


class Pools:
    """The sessions of one process, of all tenants; used from any thread.

    `server` opens a connection of the server's own, for a moment; `settle` mends a tenant's role."""

    def __init__(
        self,
        *,
        server: Callable[[], AbstractContextManager[Connection]],
        rules: external.Rules,
        wait_s: float,
        settle: Callable[[int], object] = lambda tenant_id: None,
        on_wait: Callable[[int, float], None] | None = None,
    ) -> None:
        self.wait_s = wait_s
        self._server = server
        self._rules = rules
        self._settle = settle
        self._on_wait = on_wait
        self._lock = threading.Lock()
        self._idle: dict[int, list[Kept]] = {}
        self._addresses: dict[int, tuple[float, Address]] = {}
        self._settled: dict[int, float] = {}
        self._waits: dict[int, tuple[int, float]] = {}
        self._sweeping = False

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        """Where sessions of async handlers are opened and reset: both may block."""
        return ThreadPoolExecutor(CONNECTS_AT_ONCE, thread_name_prefix="connections")

    def try_open(self, tenant_id: int) -> Kept:
        """A session: one that was kept, else a new one.

        Raises psycopg.OperationalError where it was refused, Unusable, BadAddress."""
        address = self._address(tenant_id)
        while kept := self._pop(tenant_id):
            if kept.address is address and _is_quiet(kept.raw):
                return kept
            kept.raw.finish()
        params = address.params
        if address.target is not None:
            params = external.parameters(address.target, self._rules)
        try:
            link = psycopg.connect(**params, autocommit=True)  # type: ignore[arg-type]
        except psycopg.OperationalError:
            if address.target is None:
                self._mend(tenant_id)
            raise
        raw = link.pgconn
        link.pgconn = CLOSED
        return Kept(raw, address)

    def give_back(self, tenant_id: int, kept: Kept) -> None:
        """Reset a session and keep it; what cannot be reset is closed, and so is one to elsewhere."""
        if kept.address.target is None and _reset(kept.raw):
            with self._lock:
                self._idle.setdefault(tenant_id, []).append(
                    Kept(kept.raw, kept.address, time.monotonic())
                )
                if not self._sweeping:
                    self._sweeping = True
                    threading.Thread(target=self._sweep, name="idle sessions", daemon=True).start()
        elif kept.raw.transaction_status != pq.TransactionStatus.ACTIVE:
            kept.raw.finish()
        else:  # code that the step has left behind still uses it: it ends with that
            shut(kept.raw)

    def pause(self, refused: int) -> float:
        """Seconds until a step asks again that was refused so often."""
        longest = min(0.25, 0.02 * 2.0 ** min(refused, 5))
        return longest * random.uniform(0.5, 1.0)  # noqa: S311  (spread, no secret)

    def waited(self, tenant_id: int, seconds: float) -> None:
        """A step had to wait: kept until `tell`, or told to `on_wait` where that is given."""
        if self._on_wait is not None:
            self._on_wait(tenant_id, seconds)
            return
        with self._lock:
            count, total = self._waits.get(tenant_id, (0, 0.0))
            self._waits[tenant_id] = (count + 1, total + seconds)

    def tell(self, connection: Connection) -> None:
        """Write down what was waited; costs nothing where nobody did."""
        if not self._waits:
            return
        with self._lock:
            waits, self._waits = self._waits, {}
        for tenant_id, (count, seconds) in waits.items():
            addresses.add_waits(connection, tenant_id, count, seconds)

    def close(self) -> None:
        """Close what is kept."""
        with self._lock:
            kept = [one for idle in self._idle.values() for one in idle]
            self._idle.clear()
        for one in kept:
            one.raw.finish()

    def _address(self, tenant_id: int) -> Address:
        now = time.monotonic()
        with self._lock:
            read_at, known = self._addresses.get(tenant_id, (0.0, None))
        if known is not None and now - read_at < FRESH_S:
            return known
        with self._server() as connection:
            found = addresses.read(connection, tenant_id)
        if found == known:
            found = known
        with self._lock:
            self._addresses[tenant_id] = (now, found)
        return found

    def _pop(self, tenant_id: int) -> Kept | None:
        with self._lock:
            idle = self._idle.get(tenant_id)
            return idle.pop() if idle else None

    def _mend(self, tenant_id: int) -> None:
        """It was refused although its role has room: the role may be gone, or its password changed."""
        now = time.monotonic()
        with self._lock:
            if now - self._settled.get(tenant_id, -60.0) < 5.0:
                return
            self._settled[tenant_id] = now
        try:
            with self._server() as connection:
                if not addresses.has_room(connection, tenant_id):
                    return
            self._settle(tenant_id)
        except Exception as error:  # the refusal itself is told to the step
            logger.warning("the role of tenant %s cannot be mended: %s", tenant_id, error)

    def _sweep(self) -> None:
        """Close what has been idle for too long; ends when nothing is left."""
        while True:
            time.sleep(IDLE_S / 2)
            oldest = time.monotonic() - IDLE_S
            with self._lock:
                old = [k for idle in self._idle.values() for k in idle if k.since <= oldest]
                for tenant_id in list(self._idle):
                    self._idle[tenant_id] = [k for k in self._idle[tenant_id] if k.since > oldest]
                    if not self._idle[tenant_id]:
                        del self._idle[tenant_id]
                if not self._idle:
                    self._sweeping = False
            for one in old:
                one.raw.finish()
            if not self._sweeping:
                return


def shut(raw: PGconn) -> None:
    """Close a session's socket for both sides; libpq's connection stays whole for whoever uses it."""
    try:
        with socket.socket(fileno=os.dup(raw.socket)) as end:
            end.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error):
        pass  # it is closed already


def _closed() -> PGconn:
    """A libpq connection that is none, for objects whose session was taken away."""
    nothing = pq.PGconn.connect_start(b"host=/dev/null")
    nothing.finish()
    return nothing


CLOSED = _closed()


def _is_quiet(raw: PGconn) -> bool:
    """Whether a kept session is still there: a server that ends it says so first."""
    if raw.status != pq.ConnStatus.OK:
        return False
    poll = select.poll()
    poll.register(raw.socket, select.POLLIN)
    return not poll.poll(0)


def _reset(raw: PGconn) -> bool:
    """Bring a session back to how it began; false where that is not possible."""
    status = raw.transaction_status
    if raw.status != pq.ConnStatus.OK or raw.pipeline_status != pq.PipelineStatus.OFF:
        return False
    if status in (pq.TransactionStatus.ACTIVE, pq.TransactionStatus.UNKNOWN):
        return False
    raw.notice_handler = raw.notify_handler = None
    if status != pq.TransactionStatus.IDLE and not _done(raw, b"ROLLBACK"):
        return False
    if not _done(raw, b"DISCARD ALL"):
        return False
    seen = raw.exec_(_SELF)
    if seen.status != pq.ExecStatus.TUPLES_OK:
        return False
    if seen.get_value(0, 0) == b"t":
        for command in _column(raw, _PREPARED):
            _done(raw, command)
    if seen.get_value(0, 1) == b"t":
        return _forget_settings(raw)
    return True


def _forget_settings(raw: PGconn) -> bool:
    """The role set something for its sessions to come: take it back, and this session with it."""
    for command in _column(
        raw,
        b"SELECT format('ALTER ROLE CURRENT_USER %s RESET ALL', w) FROM unnest(ARRAY['', "
        b"format('IN DATABASE %I', current_database())]) w",
    ):
        _done(raw, command)
    return False


def _done(raw: PGconn, command: bytes) -> bool:
    return bool(raw.exec_(command).status == pq.ExecStatus.COMMAND_OK)


def _column(raw: PGconn, query: bytes) -> list[bytes]:
    found = raw.exec_(query)
    return [found.get_value(row, 0) or b"" for row in range(found.ntuples)]
