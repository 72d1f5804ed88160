"""Errors carry a code, a category, facts and a message."""

import pytest

from orchestrator.domain import errors
from orchestrator.domain.errors import Invalid, InvalidDefinition, OverQuota, Problem, pointer


def _all_errors() -> list[type[errors.MillraceError]]:
    found: list[type[errors.MillraceError]] = [errors.MillraceError]
    for cls in found:
        found.extend(cls.__subclasses__())
    return [cls for cls in found if cls.__module__ == errors.__name__]


def test_every_code_is_used_once() -> None:
    codes = [cls.code for cls in _all_errors()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("cls", [c for c in _all_errors() if c is not OverQuota])
def test_the_docstring_is_the_message(cls: type[errors.MillraceError]) -> None:
    error = cls()
    assert error.message == str(error)
    assert error.message.endswith(".")
    assert "\n" not in error.message
    assert 400 <= cls.status < 600
    assert cls.title


@pytest.mark.parametrize(
    ("cls", "status"),
    [
        (errors.Malformed, 400),
        (errors.Unauthorized, 401),
        (errors.Forbidden, 403),
        (errors.RunNotFound, 404),
        (errors.StateConflict, 409),
        (errors.DepthExceeded, 413),
        (errors.IdempotencyMismatch, 422),
        (errors.OverQuota, 429),
    ],
)
def test_statuses(cls: type[errors.MillraceError], status: int) -> None:
    assert cls.status == status


def test_facts_fill_the_message() -> None:
    error = errors.ScopeMissing(scope="runs:write")
    assert error.message == "The API key lacks the scope runs:write."
    assert error.facts == {"scope": "runs:write"}


def test_a_fact_that_is_not_given_stands_as_its_name() -> None:
    assert errors.ScopeMissing().message == "The API key lacks the scope scope."


def test_a_message_of_ones_own_is_taken_as_it_is() -> None:
    assert errors.Conflict("The {workflow} is paused.").message == "The {workflow} is paused."


def test_over_quota_tells_what_to_wait_for() -> None:
    error = OverQuota(quota="runs_per_minute", value=60, use=61, retry_after=12)
    assert error.facts == {"quota": "runs_per_minute", "value": 60, "use": 61, "retry_after": 12}
    assert "runs_per_minute of 60" in error.message
    assert "12 s" in error.message


def test_invalid_keeps_its_problems_in_order() -> None:
    problems = [Problem("/b", "no", "x"), Problem("/a", "no", "y")]
    error = InvalidDefinition(problems=problems)
    assert isinstance(error, Invalid)
    assert error.problems == tuple(problems)
    assert error.code == "invalid_definition"


@pytest.mark.parametrize(
    ("parts", "text"),
    [((), ""), (("steps", 2, "a/b"), "/steps/2/a~1b"), (("~1",), "/~01"), (("",), "/")],
)
def test_pointer(parts: tuple[str | int, ...], text: str) -> None:
    assert pointer(*parts) == text
