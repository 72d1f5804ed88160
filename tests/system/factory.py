"""Makes tenants in a running system: `python -m tests.system.factory`, a line of JSON in, one out.

A process of its own, because the test process's Django has another database."""

from __future__ import annotations

import json
import os
import sys

import django


def main() -> None:
    """Make tenants until the input ends."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
    django.setup()
    from django.db import close_old_connections

    from tenants.actors import Actor
    from tenants.services import create_api_key, create_tenant, create_user

    actor = Actor("command", "tests", "")
    for line in sys.stdin:
        wish = json.loads(line)
        close_old_connections()  # PostgreSQL may have been killed since
        tenant = create_tenant(
            slug=wish["slug"], max_connections=wish["max_connections"], actor=actor
        )
        _, key = create_api_key(tenant=tenant, scopes=wish["scopes"], actor=actor)
        for user in wish["users"]:
            create_user(**user, tenant=tenant, actor=actor)
        print(json.dumps({"id": tenant.pk, "key": key}), flush=True)


if __name__ == "__main__":
    main()
