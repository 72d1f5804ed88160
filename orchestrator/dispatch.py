"""Wake-ups: hints to Celery that a queue has work.  Losing one costs at most a second.

A thread of its own sends them, so that neither a request nor a worker waits for a broker that is
slow or gone; hints for the same queue that have not left yet become one."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Iterable

from celery import current_app
from kombu.exceptions import OperationalError

logger = logging.getLogger(__name__)

EXECUTE = "orchestrator.execute"
HINT_EXPIRES_S = 10
"""A hint older than this is dropped unread: whoever was busy has asked for work since."""
FLUSH_S = 2.0


class _Sender:
    """Sends hints from one thread of this process (a forked child starts its own)."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.pending: dict[str, None] = {}
        self.changed = threading.Condition()
        self.idle = True
        self.thread = threading.Thread(target=self._run, name="wake-ups", daemon=True)
        self.thread.start()

    def put(self, queues: Iterable[str]) -> None:
        with self.changed:
            self.pending.update(dict.fromkeys(queues))
            self.changed.notify_all()

    def flush(self, timeout_s: float) -> None:
        """Wait until everything has left, at most so long."""
        with self.changed:
            self.changed.wait_for(lambda: self.idle and not self.pending, timeout_s)

    def _run(self) -> None:
        while True:
            with self.changed:
                self.idle = not self.pending
                if self.idle:
                    self.changed.notify_all()
                self.changed.wait_for(lambda: bool(self.pending))
                queues, self.pending = list(self.pending), {}
                self.idle = False
            for queue in queues:
                self._send(queue)

    def _send(self, queue: str) -> None:
        try:
            current_app.send_task(
                EXECUTE, queue=queue, expires=HINT_EXPIRES_S, ignore_result=True, retry=False
            )
        except (OperationalError, OSError) as error:
            logger.warning("no wake-up for queue %s: %s", queue, error)
        except Exception:
            logger.exception("no wake-up for queue %s", queue)


_lock = threading.Lock()
_sender: _Sender | None = None


def wake(queues: Iterable[str]) -> None:
    """Send one hint to each queue, soon.  Never raises and never waits."""
    global _sender  # noqa: PLW0603  (one sender for each process)
    wanted = list(queues)
    if not wanted:
        return
    if _sender is None or _sender.pid != os.getpid():
        with _lock:
            if _sender is None or _sender.pid != os.getpid():
                _sender = _Sender()
                atexit.register(_sender.flush, FLUSH_S)
    _sender.put(wanted)
