"""Fixtures for every test: see tests/servers.py (a database) and tests/system (a whole system)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.test.utils import override_settings
from pytest_django import DjangoDbBlocker

# Imported here and not left to the plugin: a conftest's fixture hides pytest-django's of that name.
from tests.servers import django_db_modify_db_settings, servers

__all__ = ["django_db_modify_db_settings", "servers"]

pytest_plugins = ("tests.system.fixtures",)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The tests' database; what threads of asynchronous tests have left open ends before it goes."""
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@pytest.fixture(scope="session", autouse=True)
def quick_passwords() -> Iterator[None]:
    """A login in this process costs no half second (real systems in tests hash as they should)."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield
