"""Running PostgreSQL for root.  PostgreSQL refuses to run as root, and nothing may be changed outside
the data folder for it: no system user made, no parent folder opened to others.

Two ways, tried in this order:

- a user namespace in which root is called `nobody`: the files stay root's, in 0700 folders;
- where the system refuses namespaces (many containers): the user `nobody` itself, who owns the
  database's folder and keeps one capability, to pass through root's own 0700 folders to it.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.embedded.errors import StartError
from orchestrator.embedded.processes import LIBC, LINUX

_CLONE_NEWUSER = 0x10000000
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the database's processes are: `become` runs in each child before its program; its files
    belong to `uid` and `gid`, as this process sees them."""

    name: str
    uid: int
    gid: int
    become: Callable[[], None] | None = None


def database_identity(home: Path) -> Identity:
    """This user, or for root one of the ways above, tried on the existing folder `home`.

    Raises StartError where neither works.
    """
    if os.geteuid() != 0:
        return Identity("this user", os.geteuid(), os.getegid())
    for candidate in (user_namespace(), plain_nobody()):
        if candidate is not None and _works(candidate, home):
            return candidate
    raise StartError(
        "PostgreSQL refuses to run as root, and this system lets root neither make a user namespace "
        "nor become the user 'nobody': start as an ordinary user, or set DATABASE_URL to a server."
    )


def give(folder: Path, identity: Identity) -> None:
    """Make the folder and all in it the identity's; nothing happens where it is so already."""
    if folder.stat().st_uid == identity.uid:
        return
    os.chown(folder, identity.uid, identity.gid)
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.chown(Path(root, name), identity.uid, identity.gid, follow_symlinks=False)


def user_namespace() -> Identity | None:
    """Root under the name of `nobody`, in a user namespace; None where the system knows neither."""
    user = _nobody()
    if user is None or not LINUX:
        return None
    uid_map, gid_map = f"{user.pw_uid} 0 1".encode(), f"{user.pw_gid} 0 1".encode()

    def become() -> None:  # pragma: no cover - runs between fork and exec
        if LIBC.unshare(_CLONE_NEWUSER) != 0:
            os._exit(97)
        # The mapped id needs an entry in the password file, or initdb does not know its own name.
        for path, content in (
            ("/proc/self/setgroups", b"deny"),
            ("/proc/self/uid_map", uid_map),
            ("/proc/self/gid_map", gid_map),
        ):
            descriptor = os.open(path, os.O_WRONLY)
            os.write(descriptor, content)
            os.close(descriptor)

    return Identity("root in a user namespace", 0, 0, become)


def plain_nobody() -> Identity | None:
    """The user `nobody`, with the capability to pass through root's folders; None: no such user."""
    user = _nobody()
    if user is None:
        return None
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    mask = 1 << _CAP_DAC_OVERRIDE
    # effective, permitted, inheritable; the second three are for capabilities from 32 on
    data = (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0)

    def become() -> None:  # pragma: no cover - runs between fork and exec
        if LINUX:
            # Without this bit access(2), by which PostgreSQL finds its own files, ignores capabilities.
            LIBC.prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        if LINUX:
            # Refused where root itself lacks the capability: then open parent folders are needed.
            LIBC.capset(header, data)
            LIBC.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)

    return Identity("nobody", user.pw_uid, user.pw_gid, become)


def _nobody() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        return None


def _works(identity: Identity, home: Path) -> bool:
    """Whether a program can be started that way and reach the folder."""
    try:
        give(home, identity)
        done = subprocess.run(
            ["ls", str(home)],
            preexec_fn=identity.become,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
