"""Fixtures for every test: see tests/servers.py (a database) and tests/system (a whole system)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connection
from django.test import TransactionTestCase
from django.test.utils import override_settings
from pytest_django import DjangoDbBlocker
from whitenoise.responders import StaticFile  # type: ignore[import-untyped]

from dashboard.static_files import StaticFiles
from tests.emptying import Emptying

# Imported here and not left to the plugin: a conftest's fixture hides pytest-django's of that name.
from tests.servers import django_db_modify_db_settings, servers

__all__ = ["django_db_modify_db_settings", "servers"]

pytest_plugins = ("tests.system.fixtures",)


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The tests' database, emptied quickly; what threads of asynchronous tests have left open ends before
    it goes."""
    with pytest.MonkeyPatch.context() as patch:
        with django_db_blocker.unblock():
            empty = Emptying()
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda _: empty())
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


@pytest.fixture(scope="session", autouse=True)
def one_look_for_static_files() -> Iterator[None]:
    """Static files are looked for once: each client of a test makes the middleware anew, and 40 ms
    of each would be this."""
    look = StaticFiles.add_files_from_finders
    found: dict[str, StaticFile] = {}

    def look_once(middleware: StaticFiles) -> None:
        if not found:
            look(middleware)
            found.update(middleware.files)
        middleware.files.update(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StaticFiles, "add_files_from_finders", look_once)
        yield
