"""Where the running system is: data folder, sockets and the addresses derived from them.

Standard library only, no Django and no side effects: settings import it, and so does every command
that has to find a running system.  The addresses follow from the data folder alone, so they are the
same whether the servers run, have stopped or were never started.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

PROJECT_ROOT = Path(__file__).resolve().parents[2]
DATABASE_NAME = "millrace"
DATABASE_ROLE = "millrace"
PG_PORT = 5432  # only part of the socket's file name: the embedded server listens on no TCP port

# sun_path holds 108 bytes on Linux and 104 on macOS and the BSDs, the closing NUL included.
_SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103
_LONGEST_SOCKET_NAME = len(f"/.s.PGSQL.{PG_PORT}.lock")


def data_dir() -> Path:
    """The absolute folder that holds everything a system keeps: $DATA_DIR, else `.data` in the project."""
    return Path(os.environ.get("DATA_DIR") or PROJECT_ROOT / ".data").expanduser().absolute()


def postgres_home() -> Path:
    """The folder of the embedded PostgreSQL: its cluster in `data`."""
    return data_dir() / "postgres"


def valkey_home() -> Path:
    """The folder of the embedded Valkey: its append-only log."""
    return data_dir() / "valkey"


def socket_dir(home: Path) -> Path:
    """The folder of a server's unix socket: its home, or a short one where the path would be too long.

    Not `tempfile.gettempdir()`: TMPDIR may differ between the shell that started the system and the
    one that looks for it, and both must come to the same folder.
    """
    if len(os.fsencode(home)) + _LONGEST_SOCKET_NAME <= _SOCKET_PATH_BYTES:
        return home
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    return Path("/tmp") / f"millrace-{digest}"  # noqa: S108 - made with 0700 and its owner checked


def valkey_socket() -> Path:
    """The unix socket of the embedded Valkey."""
    return socket_dir(valkey_home()) / "valkey.sock"


def password_file() -> Path:
    """The libpq password file (0600) of the embedded database's roles."""
    return data_dir() / "postgres.pgpass"


def logs_dir() -> Path:
    """The folder of the parts' log files."""
    return data_dir() / "logs"


def credentials_file() -> Path:
    """The operator's login and API key of the demo tenant (JSON, 0600)."""
    return data_dir() / "credentials.json"


def address_file() -> Path:
    """The address under which this machine reaches web, one line; there while the system runs."""
    return data_dir() / "address"


def web_url() -> str:
    """Where web is reached from here, without a slash at the end: at $PORT, else where the system of this
    data folder was started, else at port 8000."""
    port = os.environ.get("PORT", "")
    if port in ("", "0"):
        try:
            return address_file().read_text().strip()
        except OSError:
            port = "8000"
    return f"http://127.0.0.1:{port}"


def uses_embedded_database() -> bool:
    """True unless DATABASE_URL names a server."""
    return not os.environ.get("DATABASE_URL")


def uses_embedded_broker() -> bool:
    """True unless BROKER_URL names a server."""
    return not os.environ.get("BROKER_URL")


def uses_embedded_valkey() -> bool:
    """True where the embedded Valkey has to run: as the broker, or for the channel layer alone.

    The second is a RabbitMQ as broker beside the embedded database: RabbitMQ cannot carry the channel
    layer, and the machine that runs the database can just as well run that.
    """
    if uses_embedded_broker():
        return True
    return (
        not os.environ.get("CHANNELS_URL")
        and not _is_redis(os.environ["BROKER_URL"])
        and uses_embedded_database()
    )


def embedded_database_url(*, role: str = DATABASE_ROLE, database: str = DATABASE_NAME) -> str:
    """The embedded database's address.  The password is in the file it names, not in the address."""
    query = {"host": str(socket_dir(postgres_home())), "passfile": str(password_file())}
    return f"postgresql://{role}@/{database}?{urlencode(query, quote_via=quote)}"


def database_url() -> str:
    """$DATABASE_URL, else the embedded database's address; a form that libpq and psycopg understand."""
    return os.environ.get("DATABASE_URL") or embedded_database_url()


def unreachable_database() -> str:
    """One sentence for whoever finds that the database does not answer."""
    if uses_embedded_database():
        return (
            f"The embedded database in {postgres_home()} is not running: start it with `make up`, "
            f"or set DATA_DIR or DATABASE_URL to where the system runs."
        )
    return (
        "The database that DATABASE_URL names does not answer: start it, correct DATABASE_URL, "
        "or unset it to use the embedded one."
    )


def broker_url() -> str:
    """$BROKER_URL, else the embedded Valkey's socket in kombu's form, `redis+socket://…`."""
    return os.environ.get("BROKER_URL") or f"redis+socket://{quote(str(valkey_socket()))}"


def channels_url() -> str | None:
    """The channel layer's Redis in redis-py's form (`redis://`, `rediss://`, `unix://`); None: there is none.

    $CHANNELS_URL, else the embedded Valkey where it runs, else the broker where it is a Redis.
    """
    if url := os.environ.get("CHANNELS_URL"):
        return _as_redis_url(url)
    if uses_embedded_valkey():
        return f"unix://{quote(str(valkey_socket()))}"
    url = os.environ["BROKER_URL"]
    return _as_redis_url(url) if _is_redis(url) else None


def _is_redis(url: str) -> bool:
    return urlsplit(url).scheme in ("redis", "rediss", "unix", "redis+socket", "valkey", "valkeys")


def _as_redis_url(url: str) -> str:
    """Kombu writes a unix socket as `redis+socket://`, redis-py as `unix://`."""
    return f"unix://{url[15:]}" if url.startswith("redis+socket://") else url
