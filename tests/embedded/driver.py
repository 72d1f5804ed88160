"""A supervisor to try: `python -m tests.embedded.driver SPEC` runs what the JSON object SPEC says.

SPEC: {"postgres": bool, "valkey": bool, "identity": "auto" | "nobody", "parts": {name: [argv…]}, "order": [name…],
"stop_s": seconds each part is given to stop}.  Prints like `make up` does; SIGINT or SIGTERM stops it.
"""

from __future__ import annotations

import json
import signal
import sys
from typing import Any

from orchestrator.embedded import datafolder, paths
from orchestrator.embedded.errors import StartError
from orchestrator.embedded.output import fail, say
from orchestrator.embedded.parts import Program
from orchestrator.embedded.postgres import Postgres
from orchestrator.embedded.privileges import database_identity, plain_nobody
from orchestrator.embedded.supervisor import StopRequested, Supervisor
from orchestrator.embedded.valkey import Valkey


def main(spec: dict[str, Any]) -> int:
    """Run until stopped; 1 and a sentence when a part refuses."""
    datafolder.prepare(paths.data_dir())
    lock = datafolder.lock(paths.data_dir())
    supervisor = Supervisor(logs=paths.logs_dir(), say=say)
    supervisor.listen()
    problem: StartError | None = None
    try:
        if spec.get("postgres"):
            supervisor.start(_postgres(spec.get("identity", "auto")))
        if spec.get("valkey"):
            supervisor.start(Valkey())
        for name, argv in spec.get("parts", {}).items():
            steps = ((signal.SIGTERM, float(spec.get("stop_s", 5))),)
            supervisor.start(Program(name, tuple(argv), stop_steps=steps))
        supervisor.wait_ready()
        say("up", "ready")
        supervisor.watch_until_stopped()
    except StopRequested:
        pass
    except StartError as error:
        problem = error
    finally:
        supervisor.stop(spec.get("order", ["database"]))
        say("up", "stopped")
        lock.close()
    return fail(str(problem)) if problem else 0


def _postgres(identity: str) -> Postgres:
    if identity == "auto":
        return Postgres(identity=database_identity)
    nobody = plain_nobody()
    assert nobody is not None
    return Postgres(identity=lambda home: nobody)


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
