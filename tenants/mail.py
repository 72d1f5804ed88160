"""Letters to people, sent beside the request that causes them.

An answer neither waits for the mail server nor tells by its time whether there was anybody to write
to.  A letter that cannot be sent is logged and dropped: each can be asked for again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore

from django.conf import settings
from django.core.mail import EmailMessage

from tenants.guesses import Guesses

logger = logging.getLogger(__name__)

MOST_WAITING = 200
letters = Guesses(burst=5, per_s=1 / 600)
"""Letters to one address: five, and six an hour more."""
_sender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mail")
_room = BoundedSemaphore(MOST_WAITING)


def is_sent() -> bool:
    """Whether a mail server is named."""
    return bool(settings.MAIL_IS_SENT)


def send(write: Callable[[], EmailMessage], *, to: str) -> None:
    """Write a letter to `to` and send it, in the sender's thread; it must not ask the database.

    Who gets too many gets no more for a while: nobody is to be flooded through us."""
    if not is_sent():
        return
    if letters.wait_s(to.casefold()):
        logger.warning("a letter was dropped: its address has got too many")
        return
    letters.note(to.casefold())
    if not _room.acquire(blocking=False):
        logger.error("a letter was dropped: %s wait for the mail server", MOST_WAITING)
        return
    _sender.submit(_deliver, write)


def _deliver(write: Callable[[], EmailMessage]) -> None:
    try:
        write().send()
    except Exception:
        logger.exception("a letter was not sent")
    finally:
        _room.release()


def header(text: str) -> str:
    """`text` as a header may have it: one line."""
    return " ".join(text.split())
