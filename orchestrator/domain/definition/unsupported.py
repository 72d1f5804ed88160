"""What a definition may say but the engine does not do yet; refused, never ignored."""

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.domain.errors import Problem, pointer

_OF_STEPS = (
    "workflow",
    "signal",
    "sleep",
    "repeat",
)
_OF_WORKFLOWS = ("concurrency",)
_BESIDE_MAP = ("workflow", "compensate", "repeat")
"""What a map may not have: child runs per item, what would make it pass over its items again."""


def unsupported(document: Mapping[str, object]) -> Iterator[Problem]:
    """A problem for every key that is of no effect yet."""
    yield from _found(document, "", _OF_WORKFLOWS)
    steps = document.get("steps")
    if isinstance(steps, list):
        for ordinal, step in enumerate(steps):
            if isinstance(step, dict):
                yield from _found(step, pointer("steps", ordinal), _OF_STEPS)
                yield from _beside_map(step, pointer("steps", ordinal))


def _beside_map(step: Mapping[str, object], place: str) -> Iterator[Problem]:
    for key in _BESIDE_MAP if "map" in step else ():
        if key in step:
            message = f"a map with {key} is not supported yet"
            yield Problem(f"{place}/map", message, "not_supported_yet")


def _found(raw: Mapping[str, object], place: str, keys: Sequence[str]) -> Iterator[Problem]:
    for key in keys:
        if key in raw:
            message = f"{key} is not supported yet"
            yield Problem(f"{place}/{key}", message, "not_supported_yet")
