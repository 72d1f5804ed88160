"""Paths of constant keys, such as `input.user["name"]`: the common case, without a walk."""

from collections.abc import Callable, Mapping

from orchestrator.domain.expressions.faults import ExpressionFailed
from orchestrator.domain.expressions.limits import kind

_LONGEST_SHOWN = 200

Read = Callable[[Mapping[str, object]], object]


def reader(source: str, root: str, keys: tuple[str | int, ...]) -> Read:
    """A function from a scope to what stands at the path; it raises ExpressionFailed."""

    path = (root, *keys)

    def read(scope: Mapping[str, object]) -> object:
        value: object = scope
        key: str | int = root
        try:
            for key in path:
                value = value[key]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            if value is scope:
                raise ExpressionFailed(f"`{root}` is not available here") from None
            raise missing(source, value, key) from None
        return value

    return read


def missing(source: str, container: object, key: object) -> ExpressionFailed:
    """The error for `key`, which `container` does not have, somewhere in the path `source`."""
    path = source if len(source) <= _LONGEST_SHOWN else f"{source[:_LONGEST_SHOWN]}…"
    shown = f'"{key}"' if isinstance(key, str) else str(key) if isinstance(key, int) else kind(key)
    match container:
        case dict() if isinstance(key, str):
            reason = f"{shown} is missing"
        case dict():
            reason = f"{shown} is not a key of an object"
        case list() | str() if isinstance(key, int) and not isinstance(key, bool):
            reason = f"there is no item {shown} among {len(container)}"
        case _:
            reason = f"there is no {shown} in {kind(container)}"
    return ExpressionFailed(f"{path}: {reason}")
