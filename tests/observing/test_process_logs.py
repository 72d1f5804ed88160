"""What processes log: one line a message, in two forms, with whose work it was and no secrets."""

from __future__ import annotations

import json
import logging
import logging.config
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import structlog
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.utils.log import log_response

from orchestrator import logs
from orchestrator.conf import read
from orchestrator.domain.masking import opened
from orchestrator.handlers import StepContext
from orchestrator.logs import Formatter, Request, configuration


@pytest.fixture(autouse=True)
def nobody() -> Iterator[None]:
    """No request, no step."""
    tokens = [(var, var.set(None)) for var in (logs.request, logs.step)]
    kept = dict(logs.process)
    logs.process.clear()
    yield
    logs.process.update(kept)
    for var, token in tokens:
        var.reset(token)  # type: ignore[arg-type]


def record(message: str, *args: object, level: int = 20, **more: Any) -> logging.LogRecord:
    """As a logger makes it."""
    made = logging.LogRecord(
        "a.logger", level, __file__, 1, message, args, more.pop("exc_info", None)
    )
    vars(made).update(more)
    made.created = 1_767_312_000.25
    return made


def text(*args: Any, **more: Any) -> str:
    return Formatter(form="console").format(record(*args, **more))


def parsed(*args: Any, **more: Any) -> dict[str, Any]:
    line = Formatter(form="json").format(record(*args, **more))
    assert "\n" not in line
    return dict(json.loads(line))


TOKEN = "kZ3_-abcdefghijklmnopqrstuvwxyz0123456789ABC"


def test_addresses_that_are_secrets_are_hidden_in_lines_of_every_logger() -> None:
    paths = f"/invitations/{TOKEN}", f"/login/forgotten/MQ/{TOKEN}"
    for path in paths:
        for line in (
            text("Forbidden (%s): %s", "CSRF cookie not set.", path),
            text("no", request=f"<WSGIRequest: POST '{path}'>", exc_info=fault(f"at {path}: no")),
            str(parsed("see http://127.0.0.1:8000%s", path, about={"path": path})),
        ):
            assert TOKEN not in line
            assert "…" in line
    assert parsed("POST /t/acme/invitations/create 302")["message"].endswith("/create 302")


@pytest.mark.parametrize("path", [f"/invitations/{TOKEN}", f"/login/forgotten/MQ/{TOKEN}"])
def test_a_form_that_is_refused_does_not_log_its_address(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert Client(enforce_csrf_checks=True).post(path).status_code == 403
    lines = [Formatter(form=form).format(one) for one in caplog.records for form in ("json", "")]
    assert any("CSRF" in line and "…" in line for line in lines)
    assert not any(TOKEN in line for line in lines)


def fault(message: str) -> Any:
    try:
        raise ValueError(message)
    except ValueError:
        return sys.exc_info()


def test_a_line_to_read() -> None:
    assert text("took %s", 5) == "2026-01-02T00:00:00.250000Z INFO a.logger: took 5"
    line = text(
        "m", level=40, n=2**70, word="two words", plain="a-b", flag=True, nothing=None, d={"a": 1}
    )
    assert line.partition(": ")[2] == (
        'm n=1180591620717411303424 word="two words" plain=a-b flag=true nothing=null d={"a": 1}'
    )


def test_an_object_a_line() -> None:
    assert parsed("took %s", 5, level=30, ms=1.5, id=uuid4()).keys() == {
        "at", "level", "logger", "message", "ms", "id",
    }  # fmt: skip
    assert parsed("ü\n", level=30)["message"] == "ü\n"
    clash = parsed("m", at="x", level_=1)
    assert (clash["at"], clash["at_"]) == ("2026-01-02T00:00:00.250000Z", "x")


def test_tracebacks() -> None:
    error = fault("first\n2026-01-02 ERROR forged")
    told = parsed("failed", exc_info=error)
    assert told["exception"].endswith("forged")
    first, *rest = text("failed", exc_info=error).split("\n")
    assert first.endswith("failed")
    assert all(line.startswith("  | ") for line in rest)
    assert "exception" not in parsed("m", exc_info=(None, None, None))
    assert parsed("m", stack_info="a stack")["exception"] == "a stack"


def test_what_others_wrote_begins_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    line = text("no user %s", "a\n2026 ERROR forged\x1b[2J\x85", name="b\r\nc")
    assert "\n" not in line
    assert "\x1b" not in line
    assert "a\\n2026 ERROR forged\\x1b[2J\\x85" in line


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_secret_that_the_process_knows(form: str) -> None:
    secret = 'log-me-"not"\\'
    opened({"A": secret})
    line = Formatter(form=form).format(
        record("with %s", secret, field=secret, nested={"k": [secret]}, exc_info=fault(secret))
    )
    assert "log-me" not in line.replace("fault(secret)", "")
    assert line.count("***") >= 4


def test_whose_work_it_was() -> None:
    logs.process["worker"] = "host:7"
    asked = Request("r-1")
    logs.request.set(asked)
    assert text("m").endswith("m worker=host:7 request=r-1")
    asked.tenant, asked.key = "acme", "mk_12"
    assert text("m").endswith("m worker=host:7 request=r-1 tenant=acme key=mk_12")
    logs.request.set(None)
    step = StepContext(tenant="t", run_id=uuid4(), step="s", index=3, attempt=2, labels={})
    logs.step.set(step)
    found = parsed("m")
    assert found["run"] == str(step.run_id)
    assert (found["tenant"], found["step"], found["attempt"], found["index"]) == ("t", "s", 2, 3)
    assert parsed("m", step="told")["step"] == "told"
    with structlog.contextvars.bound_contextvars(batch="b"):
        assert parsed("m")["batch"] == "b"


def test_every_logger_comes_out_alike(capsys: pytest.CaptureFixture[str]) -> None:
    names = ("uvicorn.error", "uvicorn.access", "django.server", "celery.worker", "anything")
    loggers = [logging.getLogger(name) for name in ("", "uvicorn", "uvicorn.error", "uvicorn.access", "django", "django.server")]  # fmt: skip
    before = [(one, one.handlers[:], one.level, one.propagate) for one in loggers]
    logging.getLogger("uvicorn.error").addHandler(logging.StreamHandler())
    try:
        logging.config.dictConfig(configuration(form="json", level="INFO"))
        for name in names:
            logging.getLogger(name).warning("hello")
        logging.getLogger("uvicorn.access").info("GET /")
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    finally:
        for one, handlers, level, propagate in before:
            one.handlers, one.propagate = handlers, propagate
            one.setLevel(level)
    assert [(line["logger"], line["message"]) for line in lines] == [
        (name, "hello") for name in names
    ]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ORCHESTRATOR_LOG_FORMAT", "xml"), ("ORCHESTRATOR_STEP_LOG_LEVEL", "loud")],
)
def test_a_wrong_word_is_refused(variable: str, value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=f"{variable}='{value}': must be one of"):
        read({variable: value})


def test_that_a_part_is_down_is_what_health_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """While a system starts it is asked ten times a second."""
    for path in ("/health", "/health/ready", "/api/v1/runs"):
        response = HttpResponse(status=503)
        log_response("%s", path, response=response, request=RequestFactory().get(path))
    assert [line.getMessage() for line in caplog.records] == ["/api/v1/runs"]
