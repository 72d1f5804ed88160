"""An ordinary user to try things as, when the tests run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from functools import cache

ORDINARY_USER = "nobody"
_PATH = "/usr/local/bin:/usr/bin:/bin"


@cache
def ordinary_python() -> str | None:
    """A Python of 3.11 or newer that `nobody` can run; None when not root, or where there is none."""
    if os.geteuid() != 0:
        return None
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        found = shutil.which(name, path=_PATH)
        if found is None:
            continue
        done = subprocess.run(
            [found, "-c", "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"],
            user=ORDINARY_USER,
            group=pwd.getpwnam(ORDINARY_USER).pw_gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=False,
        )
        if done.returncode == 0:
            return found
    return None


def users() -> list[str | None]:
    """Whom to try as: this user (None) and, for root where that is possible, an ordinary one."""
    return [None, ORDINARY_USER] if ordinary_python() else [None]
