"""A way to the embedded PostgreSQL from elsewhere."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from orchestrator.embedded import paths
from orchestrator.store import connect
from tenants.connections import roles
from tenants.models import Tenant, TenantDatabase
from tests.connections.looking import home


class Door:
    """The embedded PostgreSQL, which listens on a unix socket alone, at a port of this machine."""

    def __init__(self) -> None:
        with connect(name="test") as link:
            self.path = f"{link.info.host}/.s.PGSQL.{link.info.port}"
            self.database = link.info.dbname
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._start(self._serve)

    def address(self, tenant: Tenant) -> str:
        """The tenant's role and schema as if they were elsewhere."""
        password = roles.password_of(TenantDatabase.objects.get(tenant=tenant).password)
        return f"postgresql://{home(tenant).role}:{password}@127.0.0.1:{self.port}/{self.database}"

    def login(self) -> str:
        """The server's own login."""
        password = paths.password_file().read_text().strip().split(":")[4]
        return (
            f"postgresql://{paths.DATABASE_ROLE}:{password}@127.0.0.1:{self.port}/{self.database}"
        )

    def close(self) -> None:
        with suppress(OSError):  # it is closed already
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        while self._threads:
            self._threads.pop().join()

    def _start(self, target: Callable[..., None], *args: socket.socket) -> None:
        self._threads.append(threading.Thread(target=target, args=args, daemon=True))
        self._threads[-1].start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                self._start(self._join, self._server.accept()[0])

    def _join(self, here: socket.socket) -> None:
        with here, socket.socket(socket.AF_UNIX) as there:
            there.connect(self.path)
            back = threading.Thread(target=_pass, args=(there, here))
            back.start()
            _pass(here, there)
            back.join()


def _pass(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65536):
            other.sendall(data)
    for end in (one, other):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
