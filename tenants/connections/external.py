"""The address of a database that a tenant names: what of it is taken, and where it may lead.

Whoever names it is not trusted with the server's own network and files: the host is resolved here
and every address is judged, and the session then goes to the judged address, so that a name which
answers differently the second time gains nothing."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from ipaddress import ip_address

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tenants.networks import is_public

PURPOSE = "tenants' databases"
"""What the addresses are sealed for."""
CONNECT_S = 10
LONGEST = 2_000
KNOWN = ("host", "port", "user", "password", "dbname", "sslmode", "channel_binding")
"""Of libpq's parameters; the others read files, name sockets or change what the server's own sessions are."""
SSLMODES = ("prefer", "disable", "require", "verify-full")
NOTHING: dict[str, str] = {
    # What libpq would else take from this machine's files and environment.
    "passfile": "/dev/null",
    "sslcert": "/dev/null/none",
    "sslkey": "/dev/null/none",
    "gssencmode": "disable",
    "options": "",
}


class BadAddress(ValueError):
    """The address is refused, or nothing answers there."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Which hosts may be named: patterns such as `*.example.com` (none: all), and whether addresses
    that are not public may be."""

    hosts: tuple[str, ...] = ()
    allow_private: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """A database elsewhere, as libpq's parameters."""

    host: str
    port: int
    params: dict[str, str]

    @property
    def name(self) -> str:
        """What may be shown: without the password."""
        return f"{self.params['user']}@{self.host}:{self.port}/{self.params['dbname']}"


def read(address: str) -> Target:
    """`postgresql://user:password@host:port/name?sslmode=…`, or libpq's `key=value` form.

    Raises BadAddress; its message never holds the password."""
    if len(address) > LONGEST or "\0" in address:
        raise BadAddress("it is too long, or holds a NUL")
    try:
        params = {key: str(value) for key, value in conninfo_to_dict(address).items() if value}
    except psycopg.Error:
        raise BadAddress("say postgresql://user:password@host:port/name") from None
    for key in params:
        if key not in KNOWN:
            raise BadAddress(f"the parameter {key} is not taken (taken are {', '.join(KNOWN)})")
    for key in ("host", "user", "password", "dbname"):
        if key not in params:
            raise BadAddress(f"it names no {key}: say postgresql://user:password@host:port/name")
    if params.get("sslmode", SSLMODES[0]) not in SSLMODES:
        raise BadAddress(f"its sslmode is none of {', '.join(SSLMODES)}")
    host = params["host"]
    if host.startswith(("/", "@")) or "," in host:
        raise BadAddress("it must name one host, and no socket")
    port = params.get("port", "5432")
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise BadAddress("its port is no number from 1 to 65535")
    return Target(host.lower().rstrip("."), int(port), params)


def parameters(
    target: Target,
    rules: Rules,
    *,
    resolve: Callable[..., list[tuple[object, ...]]] = socket.getaddrinfo,  # type: ignore[assignment]
) -> dict[str, str]:
    """What to connect with: the target at an address that was judged.  Raises BadAddress."""
    if rules.hosts and not any(fnmatchcase(target.host, pattern) for pattern in rules.hosts):
        raise BadAddress(f"{target.host} is not among the hosts that the server allows")
    try:
        found = resolve(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise BadAddress(f"there is no host {target.host}") from None
    addresses = [str(entry[4][0]).split("%")[0] for entry in found]  # type: ignore[index]
    if not rules.allow_private and not all(is_public(ip_address(one)) for one in addresses):
        raise BadAddress(f"{target.host} is at a private address, which is not allowed")
    verifies = target.params.get("sslmode") == "verify-full"
    return {
        **NOTHING,
        "sslrootcert": "system" if verifies else "/dev/null/none",
        **target.params,
        "host": target.host,
        "hostaddr": addresses[0],
        "port": str(target.port),
        "connect_timeout": str(CONNECT_S),
    }


def check(target: Target, rules: Rules) -> None:
    """Connect and ask something.  Raises BadAddress, with the server's words and without the password."""
    try:
        with psycopg.connect(**parameters(target, rules), autocommit=True) as connection:  # type: ignore[arg-type]
            connection.execute("SELECT 1")
    except psycopg.Error as error:
        said = (str(error).strip().splitlines() or ["no answer"])[0]
        said = said.replace(target.params["password"], "***")
        raise BadAddress(f"{target.name} cannot be used: {said[:300]}") from None
