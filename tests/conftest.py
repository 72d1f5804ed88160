"""Fixtures for every test: see tests/servers.py (a database) and tests/system (a whole system)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test.utils import override_settings

# Imported here and not left to the plugin: a conftest's fixture hides pytest-django's of that name.
from tests.servers import django_db_modify_db_settings, servers

__all__ = ["django_db_modify_db_settings", "servers"]

pytest_plugins = ("tests.system.fixtures",)


@pytest.fixture(scope="session", autouse=True)
def quick_passwords() -> Iterator[None]:
    """A login in this process costs no half second (real systems in tests hash as they should)."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        yield
