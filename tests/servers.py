"""The servers that tests talk to.  A pytest plugin (see pyproject.toml).

Unless DATABASE_URL is set, the test process gets a data folder of its own, and an embedded PostgreSQL
and Valkey in it as soon as a test asks for the database; nothing of the machine's is used.
`python -m tests.servers` is that pair under the product's own supervisor."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator

import pytest

from orchestrator.embedded import datafolder, paths
from orchestrator.embedded.output import say
from orchestrator.embedded.postgres import Postgres
from orchestrator.embedded.supervisor import StopRequested, Supervisor
from orchestrator.embedded.valkey import Valkey
from tests.embedded.running import running

OWN_FOLDER = "DATABASE_URL" not in os.environ and __name__ != "__main__"
if OWN_FOLDER:
    os.environ["DATA_DIR"] = tempfile.mkdtemp(prefix="mr-t")
    os.environ.pop("BROKER_URL", None)
    os.environ.pop("CHANNELS_URL", None)


@pytest.fixture(scope="session")
def servers() -> Iterator[None]:
    """PostgreSQL and Valkey, running."""
    if not OWN_FOLDER:
        yield
        return
    with running([sys.executable, "-m", "tests.servers"], env=os.environ) as process:
        process.wait_for("ready")
        yield
        process.finish(signal.SIGTERM)


@pytest.fixture(scope="session")
def django_db_modify_db_settings(servers: None) -> None:
    """pytest-django's hook before it makes the test database: the servers must run."""


def pytest_unconfigure() -> None:
    """Remove the data folder."""
    if OWN_FOLDER:
        shutil.rmtree(os.environ["DATA_DIR"], ignore_errors=True)


def main() -> None:
    """Run the two servers until SIGTERM."""
    datafolder.prepare(paths.data_dir())
    supervisor = Supervisor(logs=paths.logs_dir(), say=say)
    supervisor.listen()
    try:
        supervisor.start(Postgres())
        supervisor.start(Valkey())
        supervisor.wait_ready()
        say("up", "ready")
        supervisor.watch_until_stopped()
    except StopRequested:
        pass
    finally:
        supervisor.stop(("broker", "database"))


if __name__ == "__main__":
    main()
