"""Letters that cannot be sent are logged and hold nobody up."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from threading import BoundedSemaphore

import pytest
from django.core.mail import EmailMessage
from django.test import override_settings

from tenants import mail


@pytest.fixture(autouse=True)
def away() -> Iterator[None]:
    """A mail server's address where none is."""
    mail.letters.forget()
    with socket.socket() as taken:  # bound and never listening
        taken.bind(("127.0.0.1", 0))
        with override_settings(
            MAIL_IS_SENT=True,
            EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend",
            EMAIL_HOST="127.0.0.1",
            EMAIL_PORT=taken.getsockname()[1],
        ):
            yield


def letter() -> EmailMessage:
    return EmailMessage("Subject", "Body", "mill@example.org", ["ann@example.org"])


def send(to: str = "ann@example.org") -> None:
    mail.send(letter, to=to)
    mail._sender.submit(lambda: None).result(10)  # what stood before it is done


def test_a_server_that_is_away(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "_room", BoundedSemaphore(1))
    for nr in range(2):
        send(f"p{nr}@example.org")
    assert caplog.messages == ["a letter was not sent"] * 2


def test_letters_that_wait_are_bounded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = BoundedSemaphore(1)
    full.acquire()
    monkeypatch.setattr(mail, "_room", full)
    send()
    assert "a letter was dropped" in caplog.text


def test_nobody_is_flooded(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for to in ("ann@example.org", "Ann@Example.org") * 3:
            send(to)
    assert "its address has got too many" in caplog.text
    assert caplog.messages.count("a letter was not sent") == 5


def test_header_is_one_line() -> None:
    assert mail.header("Join\r\nBcc: x@example.org") == "Join Bcc: x@example.org"
