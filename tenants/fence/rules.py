"""What each role may do with which table: the fence as it should stand.

Every table with a `tenant_id` is fenced by itself, its partitions too; nobody has to ask for it.  A
table without one belongs to the server: what requests may do there its app's config says, in
`fence = Rules(requests={"table": "SELECT"})`; where nothing is said, nothing.  A view passes the
policies: it is open only where that is said, and holds the condition itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from django.apps import apps

from tenants.fence.standing import (
    APP,
    HOOKS,
    INVITES,
    KEYS,
    MONITOR,
    PEOPLE,
    RECORDS,
    ROLES,
    STAFF,
    WAITS,
    WORKER,
)

TENANT = "(SELECT nullif(current_setting('millrace.tenant', true), '')::int)"
SUBJECT = "(SELECT current_setting('millrace.subject', true))"
ALL = "SELECT, INSERT, UPDATE, DELETE"


@dataclass(frozen=True, slots=True)
class Door:
    """What a narrow role may do with a table: privileges (columns in parentheses) on some rows."""

    privileges: str
    rows: str


@dataclass(frozen=True, slots=True)
class Rules:
    """What an app says of its tables: the privileges on them.

    `requests`: what requests may do in a table of the server (else nothing), and in one of tenants
    (else everything, with the rows of their own).  `all`: what workers and staff may do at most.
    `functions`: those that run with their owner's rights, and the roles that may call them; nobody else,
    tenants' own roles neither."""

    requests: Mapping[str, str] = field(default_factory=dict)
    all: Mapping[str, str] = field(default_factory=dict)
    functions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_OF_KEY = "(SELECT k.tenant_id FROM api_key k)"
_OF_PERSON = "(SELECT m.tenant_id FROM membership m)"
_OF_INVITATION = "(SELECT i.tenant_id FROM invitation i)"
_OF_HOOK = "(SELECT t.id FROM tenant t)"

DOORS: Mapping[str, Mapping[str, Door]] = {
    KEYS: {
        "api_key": Door("SELECT, UPDATE (last_used_at)", f"prefix = {SUBJECT}"),
        "tenant": Door("SELECT", f"id IN {_OF_KEY}"),
        "quota": Door("SELECT", f"tenant_id IN {_OF_KEY}"),
    },
    PEOPLE: {
        "membership": Door("SELECT, UPDATE (last_used_at)", f"user_id::text = {SUBJECT}"),
        "tenant": Door("SELECT", f"id IN {_OF_PERSON}"),
        "quota": Door("SELECT", f"tenant_id IN {_OF_PERSON}"),
    },
    HOOKS: {
        "tenant": Door("SELECT", f"slug = {SUBJECT}"),
        "quota": Door("SELECT", f"tenant_id IN {_OF_HOOK}"),
        "trigger": Door("SELECT", f"tenant_id IN {_OF_HOOK}"),
        "workflow": Door("SELECT", f"tenant_id IN {_OF_HOOK}"),
    },
    INVITES: {
        "invitation": Door("SELECT, UPDATE (attempt_count)", f"encode(digest, 'hex') = {SUBJECT}"),
        "tenant": Door("SELECT", f"id IN {_OF_INVITATION}"),
    },
    RECORDS: {"audit_entry": Door("INSERT, SELECT (id, at)", "tenant_id IS NULL")},
    WAITS: {"run": Door("SELECT (id, finished_at)", "true")},
}
"""The narrow doors: everything that their roles may see."""

SEEN_BY_ALL = ("pool",)
"""Tables in which rows without a tenant are the server's, for every tenant to see."""


def declared() -> Rules:
    """What all apps say."""
    said = [config.fence for config in apps.get_app_configs() if hasattr(config, "fence")]
    return Rules(
        **{
            part: {name: what for rules in said for name, what in getattr(rules, part).items()}
            for part in ("requests", "all", "functions")
        }
    )


def own(column: str) -> str:
    """The condition of a row that is the request's own tenant's.

    The planner sees neither an index condition nor a guess at the number of rows in it, so that the
    statements, which all name their tenant, keep the plans that they have without the fence."""
    return f"CASE WHEN {column} = {TENANT} THEN true ELSE false END"


def statements(table: str, *, tenant_column: str | None, rules: Rules, prefix: str) -> list[str]:
    """What puts a table behind the fence, from whatever stood there before.

    `tenant_column` None: it is the server's."""
    names = {role: f"{prefix}{role}" for role in ROLES}
    doors = {role: found[table] for role, found in DOORS.items() if table in found}
    most = rules.all.get(table, ALL)
    grants = {
        APP: rules.requests.get(table, "" if tenant_column is None else most),
        WORKER: most,
        STAFF: most,
        MONITOR: "SELECT",
        **{role: door.privileges for role, door in doors.items()},
    }
    made = [f'REVOKE ALL ON "{table}" FROM {", ".join(names.values())}']
    made += [f'GRANT {what} ON "{table}" TO {names[role]}' for role, what in grants.items() if what]
    if tenant_column is None:
        return made
    every = ", ".join(names[role] for role in (WORKER, STAFF, MONITOR))
    mine = own(tenant_column)
    policies = {
        APP: f"FOR ALL TO {names[APP]} USING ({mine}) WITH CHECK ({mine})",
        "every": f"FOR ALL TO {every} USING (true) WITH CHECK (true)",
        **{
            role: f"FOR ALL TO {names[role]} USING ({door.rows}) WITH CHECK ({door.rows})"
            for role, door in doors.items()
        },
    }
    if table in SEEN_BY_ALL:
        policies["seen"] = f"FOR SELECT TO {names[APP]} USING ({tenant_column} IS NULL)"
    made.append(f'ALTER TABLE "{table}" ENABLE ROW LEVEL SECURITY')
    for name, policy in policies.items():
        made.append(f'DROP POLICY IF EXISTS fence_{name} ON "{table}"')
        made.append(f'CREATE POLICY fence_{name} ON "{table}" {policy}')
    return made


def closing(partition: str) -> list[str]:
    """What closes a partition: it is reached through its table alone, behind that one's policies."""
    return [f'ALTER TABLE "{partition}" ENABLE ROW LEVEL SECURITY']
