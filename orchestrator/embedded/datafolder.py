"""The data folder: made, checked, and locked against a second system."""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import secrets
from pathlib import Path
from typing import IO

from orchestrator.embedded.errors import StartError

MEND = "choose another one with DATA_DIR=…"


def prepare(folder: Path) -> None:
    """Make the folder (0700) if it is missing and see that it can be written.

    Raises StartError, which names what is wrong with it.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except (FileExistsError, NotADirectoryError):
        raise StartError(
            f"The data folder {folder} is a file, or lies below one: remove the file, or {MEND}"
        ) from None
    except OSError as error:
        raise StartError(
            f"The data folder {folder} cannot be written ({_reason(error)}): mend that, or {MEND}"
        ) from None


def lock(folder: Path) -> IO[str]:
    """Hold the folder for as long as the returned file stays open; raises StartError if it is held.

    The kernel lets go of the lock with the process, however it dies.
    """
    try:
        handle = (folder / "lock").open("a+")
    except OSError as error:
        raise StartError(
            f"The lock of the data folder {folder} cannot be opened ({_reason(error)}): "
            f"start as the user who owns it, or {MEND}"
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.seek(0)
        holder = handle.read().strip() or "unknown"
        handle.close()
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise StartError(
                f"The data folder {folder} cannot be locked ({_reason(error)}): "
                f"use a local disk, or {MEND}"
            ) from None
        raise StartError(
            f"Another `make up` (process {holder}) uses the data folder {folder}: stop it, or {MEND}"
        ) from None
    handle.seek(0)
    handle.truncate()
    handle.write(str(os.getpid()))
    handle.flush()
    return handle


def private_folder(folder: Path) -> None:
    """Make a 0700 folder of this user's own; raises StartError if another user got there first."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    owner = folder.lstat().st_uid
    if folder.is_symlink() or owner not in (os.geteuid(), _nobody_for_root()):
        raise StartError(
            f"The folder {folder} belongs to {_user_name(owner)}: start as that user, remove it, or {MEND}"
        )
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def write_private(file: Path, content: str) -> None:
    """Write a file (0600) whole or not at all."""
    temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(file)


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _nobody_for_root() -> int:
    """Root's database may belong to `nobody` (see privileges)."""
    if os.geteuid() == 0:
        try:
            return pwd.getpwnam("nobody").pw_uid
        except KeyError:
            pass
    return os.geteuid()


def _user_name(uid: int) -> str:
    try:
        return f"the user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user id {uid}"
