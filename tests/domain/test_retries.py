"""Backoff keeps to its bounds, and the lists of exceptions are honoured."""

from datetime import timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.retries import RetryPolicy, backoff, error_names, may_retry

_delays = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=366))


class CardDeclined(ValueError):
    pass


@given(
    delay=_delays,
    max_delay=_delays,
    factor=st.floats(min_value=1, max_value=1000),
    jitter=st.floats(min_value=0, max_value=1),
    attempt=st.integers(min_value=1, max_value=2_000),
    rng=st.randoms(use_true_random=False),
)
def test_backoff_is_within_jitter_of_the_formula(
    delay: timedelta,
    max_delay: timedelta,
    factor: float,
    jitter: float,
    attempt: int,
    rng: Random,
) -> None:
    policy = RetryPolicy(5, delay, factor, max_delay, jitter)
    # The same formula in another way: one multiplication at a time, capped at each.
    expected = min(delay, max_delay).total_seconds()
    for _ in range(attempt - 1):
        expected = min(expected * factor, max_delay.total_seconds())
    found = backoff(policy, attempt, rng=rng).total_seconds()
    slack = 1e-6 + expected * 1e-6
    assert expected * (1 - jitter) - slack <= found <= expected * (1 + jitter) + slack


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (8, 60), (10**9, 60)]
)
def test_backoff_without_jitter_doubles_up_to_the_longest(attempt: int, seconds: int) -> None:
    policy = RetryPolicy(max_attempts=3, jitter=0)
    assert backoff(policy, attempt, rng=Random(1)) == timedelta(seconds=seconds)


def test_backoff_spreads_over_the_whole_of_its_jitter() -> None:
    policy = RetryPolicy(delay=timedelta(seconds=10), jitter=0.25)
    rng = Random(1)
    found = [backoff(policy, 1, rng=rng).total_seconds() for _ in range(2_000)]
    assert 7.5 <= min(found) < 7.6
    assert 12.4 < max(found) <= 12.5


@pytest.mark.parametrize(
    ("delay", "max_delay"), [(0, 60), (0, 0), (1, 0)], ids=["no delay", "none", "capped at none"]
)
def test_backoff_may_be_nothing(delay: int, max_delay: int) -> None:
    policy = RetryPolicy(delay=timedelta(seconds=delay), max_delay=timedelta(seconds=max_delay))
    assert backoff(policy, 3, rng=Random(1)) == timedelta(0)


def test_attempts_are_counted_with_the_first() -> None:
    policy = RetryPolicy(max_attempts=3)
    assert [may_retry(policy, attempt=n, error_names=()) for n in (1, 2, 3, 4)] == [
        True,
        True,
        False,
        False,
    ]


_DECLINED = f"{__name__}.CardDeclined"


@pytest.mark.parametrize(
    ("never_on", "only_on", "again"),
    [
        ((), (), True),
        (("CardDeclined",), (), False),
        ((_DECLINED,), (), False),
        (("ValueError",), (), False),
        (("builtins.ValueError",), (), False),
        (("Exception",), (), False),
        (("KeyError",), (), True),
        ((), ("CardDeclined",), True),
        ((), ("ValueError", "KeyError"), True),
        ((), ("KeyError",), False),
        (("CardDeclined",), ("ValueError",), False),
    ],
)
def test_lists_of_exceptions(
    never_on: tuple[str, ...], only_on: tuple[str, ...], again: bool
) -> None:
    policy = RetryPolicy(max_attempts=2, never_on=never_on, only_on=only_on)
    assert may_retry(policy, attempt=1, error_names=error_names(CardDeclined)) is again


def test_error_names_are_those_of_the_class_and_its_bases() -> None:
    assert error_names(KeyError) == (
        "KeyError",
        "builtins.KeyError",
        "LookupError",
        "builtins.LookupError",
        "Exception",
        "builtins.Exception",
        "BaseException",
        "builtins.BaseException",
    )
    assert error_names(CardDeclined)[:2] == ("CardDeclined", _DECLINED)
