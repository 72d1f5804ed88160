from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from orchestrator.embedded import paths


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA_DIR", "DATABASE_URL", "BROKER_URL", "CHANNELS_URL"):
        monkeypatch.delenv(name, raising=False)


def test_the_default_data_folder_is_in_the_project() -> None:
    assert paths.data_dir() == paths.PROJECT_ROOT / ".data"


def test_a_relative_data_folder_is_made_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", "here")
    assert paths.data_dir() == tmp_path / "here"


def test_the_database_address_names_socket_folder_and_password_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATA_DIR", "/srv/a folder/é")
    parts = urlsplit(paths.database_url())
    assert (parts.scheme, parts.username, parts.path) == ("postgresql", "millrace", "/millrace")
    assert parse_qs(parts.query) == {
        "host": ["/srv/a folder/é/postgres"],
        "passfile": ["/srv/a folder/é/postgres.pgpass"],
    }


def test_a_set_database_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@db/name")
    assert paths.database_url() == "postgresql://u@db/name"
    assert not paths.uses_embedded_database()


def test_web_is_where_it_was_started(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(folder))
    monkeypatch.delenv("PORT", raising=False)
    assert paths.web_url() == "http://127.0.0.1:8000"
    paths.address_file().write_text("http://127.0.0.1:4711\n")
    assert paths.web_url() == "http://127.0.0.1:4711"
    monkeypatch.setenv("PORT", "0")
    assert paths.web_url() == "http://127.0.0.1:4711"
    monkeypatch.setenv("PORT", "9000")
    assert paths.web_url() == "http://127.0.0.1:9000"


def test_a_socket_path_that_is_too_long_moves_to_a_short_folder_of_its_own() -> None:
    short, long = Path("/srv/data/postgres"), Path("/srv") / ("x" * 90) / "postgres"
    assert paths.socket_dir(short) == short
    moved = paths.socket_dir(long)
    assert moved != long
    assert len(str(moved)) < 80
    assert moved == paths.socket_dir(long)
    assert moved != paths.socket_dir(long.with_name("valkey"))


SOCKET = "/srv/d/valkey/valkey.sock"


@pytest.mark.parametrize(
    ("env", "broker", "channels", "valkey"),
    [
        ({}, f"redis+socket://{SOCKET}", f"unix://{SOCKET}", True),
        ({"BROKER_URL": "redis://r:6379/1"}, "redis://r:6379/1", "redis://r:6379/1", False),
        (
            {"BROKER_URL": "redis+socket:///r.sock"},
            "redis+socket:///r.sock",
            "unix:///r.sock",
            False,
        ),
        ({"BROKER_URL": "amqp://q"}, "amqp://q", f"unix://{SOCKET}", True),
        ({"BROKER_URL": "amqp://q", "DATABASE_URL": "postgresql://d"}, "amqp://q", None, False),
        ({"BROKER_URL": "amqp://q", "CHANNELS_URL": "redis://r"}, "amqp://q", "redis://r", False),
        ({"CHANNELS_URL": "redis://r"}, f"redis+socket://{SOCKET}", "redis://r", True),
    ],
)
def test_broker_and_channel_layer(
    monkeypatch: pytest.MonkeyPatch,
    env: dict[str, str],
    broker: str,
    channels: str | None,
    valkey: bool,
) -> None:
    monkeypatch.setenv("DATA_DIR", "/srv/d")
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert paths.broker_url() == broker
    assert paths.channels_url() == channels
    assert paths.uses_embedded_valkey() is valkey


def test_an_unreachable_database_is_told_with_its_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "make up" in paths.unreachable_database()
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@db/name")
    assert "DATABASE_URL" in paths.unreachable_database()
