"""Django's PostgreSQL backend, each statement behind the fence (`ENGINE` in the settings).

A statement goes out with what sets its role and its tenant, in the same message and the same
transaction: no further round trip, nothing that stays on a connection of the pool, and nothing that a
transaction pooler could hand to another."""

from __future__ import annotations

from typing import Any, cast

from django.db.backends.postgresql import base
from psycopg import ClientCursor, NotSupportedError, sql
from psycopg.pq import PipelineStatus, TransactionStatus

from tenants.fence.standing import APP, current

_PREFIX = "SELECT 'millrace_' || oid || '_' FROM pg_database WHERE datname = current_database()"


class FencedCursor(base.Cursor, ClientCursor[Any]):  # the second for its types
    """Sends every statement as whom the thread stands for (`tenants.fence.standing`)."""

    def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
        """As psycopg's; the results are the statement's own."""
        before = self._before() if query else ()  # the pool's check of a connection is empty
        if not before:
            return super().execute(query, params, **more)
        if self.connection.pgconn.pipeline_status != PipelineStatus.OFF:  # one statement a message
            for one in before:
                ClientCursor(self.connection).execute(one)
            return super().execute(query, params, **more)
        if isinstance(query, sql.Composable):
            query = query.as_string(self.connection)
        elif isinstance(query, bytes):
            query = query.decode()
        super().execute("; ".join((*before, query)), params, **more)
        return self.set_result(len(before))

    def executemany(self, query: Any, params_seq: Any, **more: Any) -> None:
        """One by one where there is a fence: psycopg would send them past `execute`."""
        if current().role is None and not self._changed():
            super().executemany(query, params_seq, **more)
            return
        for params in params_seq:
            self.execute(query, params)

    def copy(self, *what: Any, **more: Any) -> Any:
        """The owner's alone: PostgreSQL refuses others to copy tables with row-level security."""
        self._owned("COPY passes the fence: insert from arrays or from JSON instead.")
        return super().copy(*what, **more)

    def stream(self, *what: Any, **more: Any) -> Any:
        """The owner's alone: it does not go through `execute`."""
        self._owned("Streams pass the fence: use a server-side cursor instead.")
        return super().stream(*what, **more)

    def _owned(self, refusal: str) -> None:
        if current().role is not None:
            raise NotSupportedError(refusal)
        for one in self._before():
            ClientCursor(self.connection).execute(one)

    def _before(self) -> tuple[str, ...]:
        """What must be said before the statement, so that it is sent as whom this thread stands for."""
        standing = current()
        connection: Any = self.connection
        status = self.connection.info.transaction_status
        if status == TransactionStatus.INERROR:
            return ()  # nothing but its end is listened to
        if standing.role is None:
            if status == TransactionStatus.IDLE:
                connection._fence_changed = False
            return ("SET LOCAL ROLE NONE",) if self._changed() else ()
        connection._fence_changed = True
        setting, value = (
            ("tenant", standing.tenant or "")
            if standing.role == APP
            else ("subject", standing.subject)
        )
        return (
            f"SET LOCAL ROLE {role_prefix(self.connection)}{standing.role}",
            f"SET LOCAL millrace.{setting} = '{value}'",
        )

    def _changed(self) -> bool:
        """Whether a transaction that is open may have the role of an earlier statement."""
        return bool(getattr(self.connection, "_fence_changed", False))


def role_prefix(connection: Any) -> str:
    """What the names of this database's roles begin with: roles are the whole cluster's."""
    prefix = getattr(connection, "_fence_prefix", None)
    if prefix is None:
        row = ClientCursor(connection).execute(_PREFIX).fetchone()
        assert row is not None
        prefix = row[0]
        connection._fence_prefix = prefix
    return cast(str, prefix)


class DatabaseWrapper(base.DatabaseWrapper):
    """The backend."""

    def get_connection_params(self) -> dict[str, Any]:
        """The same, with our cursor."""
        return {**super().get_connection_params(), "cursor_factory": FencedCursor}
