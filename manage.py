#!/usr/bin/env python
"""Millrace's command line: `manage.py help` lists the commands."""

import os
import sys
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

AS_OWNER = ("install", "up", "tenant_delete", "tenant_restore", "tenant_repair")
"""Our commands that migrate, that copy whole tables, or that make and drop roles and schemas."""


def is_ours(arguments: list[str]) -> bool:
    """Whether a command works under the workers' role in the database, and not as its owner, as
    Django's own do."""
    name = arguments[0] if arguments else "help"
    files = Path(__file__).parent.glob(f"*/management/commands/{name}.py")
    return name.isidentifier() and name not in AS_OWNER and any(files)


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
    from django.core.management import execute_from_command_line
    from django.db.utils import DataError, OperationalError

    try:
        if is_ours(sys.argv[1:]):
            from tenants import fence

            fence.serve_as(fence.Standing(fence.WORKER))
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        raise SystemExit(f"Settings are wrong: {error}") from None
    except DataError as error:
        if "role" not in str(error) or "does not exist" not in str(error):
            raise
        raise SystemExit("The database is not ready: run `manage.py migrate`.") from None
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) is not None:
            raise
        from orchestrator.embedded import paths

        raise SystemExit(paths.unreachable_database()) from None


if __name__ == "__main__":
    main()
