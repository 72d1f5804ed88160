"""Fixtures of a whole running system: one per session (and servers), a tenant per test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import external
from tests.system.running_system import System, TestTenant, start_system


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    """The session's system, on the embedded default."""
    with start_system() as running:
        yield running


@pytest.fixture(scope="session")
def external_system() -> Iterator[System]:
    """The session's system on this machine's servers (see tests/external.py)."""
    with external.servers() as addresses, start_system(**addresses) as running:
        yield running


@pytest.fixture
def tenant(request: pytest.FixtureRequest) -> TestTenant:
    """A tenant of this test's own, with 10 connections."""
    on = "external_system" if getattr(request, "param", None) == "external" else "system"
    system: System = request.getfixturevalue(on)
    return system.tenant()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests marked `any_servers` run on the embedded servers, and on those of this machine."""
    if metafunc.definition.get_closest_marker("any_servers") and "tenant" in metafunc.fixturenames:
        on_external = pytest.param("external", marks=pytest.mark.external)
        metafunc.parametrize("tenant", ["embedded", on_external], indirect=True)
