"""What installing and keeping the server comes to: migrations, tenants' roles, keys."""

from __future__ import annotations

import os

from django.core.management import call_command

from orchestrator.domain.health import Check, State
from orchestrator.services.sealing import SEALED
from tenants.connections import roles
from tenants.sealing import Unreadable, unseal

SAMPLE = 50
"""Of each column with something sealed, so many of the newest are tried."""


def migrations() -> Check:
    """Whether the database is as this code needs it.  Runs as the tables' owner."""
    try:
        call_command("migrate", check_unapplied=True, verbosity=0)
    except SystemExit:
        mend = "Stop workers and clock, run `manage.py migrate` (or `make up`), start them."
        return Check("migrations", State.DOWN, "Some are not applied.", mend)
    return Check("migrations", State.OK, "All are applied.")


def tenant_roles() -> Check:
    """Roles and schemas of tenants, by which their steps connect."""
    lacking = [home.slug for home in roles.homes() if not home.is_well]
    if lacking:
        named = ", ".join(lacking[:10]) + (" …" if len(lacking) > 10 else "")
        return Check(
            "roles",
            State.DEGRADED,
            f"Missing, or with another limit than the tenant's: {named}.",
            "Run `manage.py tenant_repair`, or `manage.py doctor --fix`.",
        )
    if open_ones := roles.exposed():
        return Check(
            "roles",
            State.DEGRADED,
            f"Every role of the database may {', '.join(open_ones)}.",
            "See docs/connections.md, What the server lets them do.",
        )
    return Check("roles", State.OK, "Each tenant has its role, limit and schema.")


def keys() -> Check:
    """Whether what is sealed can be opened with the keys that this process has."""
    where = "the environment" if os.environ.get("SECRET_KEY") else "DATA_DIR/secret.key"
    shut: dict[str, int] = {}
    for model, field, purpose in SEALED:
        rows = model._default_manager.filter(**{f"{field}__isnull": False}).order_by("-pk")
        for token in rows.values_list(field, flat=True)[:SAMPLE]:
            try:
                unseal(bytes(token), purpose=purpose)
            except Unreadable:
                name = f"{model._meta.verbose_name} {field}"
                shut[name] = shut.get(name, 0) + 1
    if shut:
        said = ", ".join(f"{count} of {name}" for name, count in shut.items())
        mend = "Put the SECRET_KEY of before into SECRET_KEY_FALLBACKS, then run `manage.py secrets_reseal`."
        detail = f"SECRET_KEY (from {where}) does not open {said}."
        return Check("keys", State.DOWN, detail, mend)
    return Check("keys", State.OK, f"SECRET_KEY, from {where}, opens what is sealed.")
