"""When a failed attempt is tried again, and after how long."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from random import Random


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how soon.

    `max_attempts` counts every attempt, the first too.  `jitter` is a share (0 to 1) of the delay.
    `never_on` and `only_on` name exceptions: class names or dotted paths, of the class or a base.
    """

    max_attempts: int = 1
    delay: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    max_delay: timedelta = timedelta(seconds=60)
    jitter: float = 0.25
    never_on: tuple[str, ...] = ()
    only_on: tuple[str, ...] = ()


def backoff(policy: RetryPolicy, attempt: int, *, rng: Random) -> timedelta:
    """Delay between attempt number `attempt` (from 1) and the next.

    min(max_delay, delay · factor^(attempt − 1)), spread evenly over ± jitter of itself.  On why
    delays grow and are spread: AWS Architecture Blog, "Exponential Backoff And Jitter".
    """
    longest = policy.max_delay.total_seconds()
    delay = policy.delay.total_seconds()
    if delay > 0:
        # In logarithms, since factor ** attempt overflows long before max_delay could cap it.
        exponent = math.log(delay) + (attempt - 1) * math.log(policy.factor)
        if longest <= 0 or exponent >= math.log(longest):
            delay = longest
        else:
            delay *= policy.factor ** (attempt - 1)
    return timedelta(seconds=delay * (1 + policy.jitter * rng.uniform(-1, 1)))


def may_retry(policy: RetryPolicy, *, attempt: int, error_names: Collection[str]) -> bool:
    """Whether attempt number `attempt`, which failed with `error_names`, is followed by another.

    `never_on` wins over `only_on`.
    """
    if attempt >= policy.max_attempts or any(name in error_names for name in policy.never_on):
        return False
    return not policy.only_on or any(name in error_names for name in policy.only_on)


def error_names(exc_type: type[BaseException]) -> tuple[str, ...]:
    """The names by which `never_on` and `only_on` may call `exc_type`.

    Its own and its bases' class names and dotted paths, nearest first: `("KeyError",
    "builtins.KeyError", "LookupError", …, "builtins.BaseException")`.
    """
    names: dict[str, None] = {}
    for cls in exc_type.__mro__[:-1]:
        names[cls.__name__] = None
        names[f"{cls.__module__}.{cls.__qualname__}"] = None
    return tuple(names)
