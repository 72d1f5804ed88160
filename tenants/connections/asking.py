"""Trying a database that a tenant names, in a process of its own.

Whoever runs that server decides how long a client waits for it, and by SCRAM's iterations how long
libpq calculates; neither a timeout of libpq's nor its socket ends that, only the process's end does."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from tenants.connections.external import BadAddress, Rules, Target, check

WITHIN_S = 10
"""For all of it: the host's name, connecting, and an answer."""
_ROOT = Path(__file__).parents[2]
_REFUSED = 3


def ask(target: Target, rules: Rules, *, within_s: float = WITHIN_S) -> None:
    """Connect and ask something, within so many seconds.  Raises BadAddress, with the server's words
    and without the password."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", __name__],
            input=json.dumps([asdict(target), asdict(rules)]),
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=within_s,
        )
    except subprocess.TimeoutExpired:
        raise BadAddress(f"{target.name} cannot be used: no answer within {within_s:g} s") from None
    if done.returncode == _REFUSED:
        raise BadAddress(done.stdout)
    done.check_returncode()


def main() -> int:
    """What the process does: 0, or what is wrong on its output."""
    signal.alarm(2 * WITHIN_S)  # whoever asked may be gone
    target, rules = json.load(sys.stdin)
    try:
        check(
            Target(**target),
            Rules(hosts=tuple(rules["hosts"]), allow_private=rules["allow_private"]),
        )
    except BadAddress as error:
        sys.stdout.write(str(error))
        return _REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
