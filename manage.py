#!/usr/bin/env python
"""Millrace's command line: `manage.py help` lists the commands."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orchestrator.settings")
    from django.core.management import execute_from_command_line
    from django.db.utils import OperationalError

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        raise SystemExit(f"Settings are wrong: {error}") from None
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) is not None:
            raise
        from orchestrator.embedded import paths

        raise SystemExit(paths.unreachable_database()) from None


if __name__ == "__main__":
    main()
