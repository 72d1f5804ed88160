"""JSON Schema 2020-12: bounded, with linear regular expressions, and never fetching anything."""

from itertools import islice

import jsonschema_rs

from orchestrator.domain.errors import Problem, pointer
from orchestrator.domain.schema_cost import BadSchema, Cost, estimate

DIALECT = "https://json-schema.org/draft/2020-12/schema"

__all__ = ["DIALECT", "BadSchema", "Validator", "compile_schema"]

_REGEX_BYTES = 2**20
_REGEX = jsonschema_rs.RegexOptions(size_limit=_REGEX_BYTES, dfa_size_limit=_REGEX_BYTES)

# Evaluations: those of one validation (tens of nanoseconds each), and those after which every
# fault may be listed, since an error costs a thousand times as much as an evaluation.
_MOST_EVALUATIONS = 100_000_000
_MOST_TO_LIST = 50_000
_CHEAP = 10
_MOST_LISTED = 100
_LONGEST_MESSAGE = 300
_CHARACTERS_PER_EVALUATION = 64


class Validator:
    """A compiled schema; immutable, safe to share between threads."""

    def __init__(self, validator: jsonschema_rs.Validator, cost: Cost) -> None:
        self._validator = validator
        self._cost = cost

    def problems(self, instance: object, prefix: str = "/input") -> tuple[Problem, ...]:
        """What is wrong with `instance` (decoded JSON), at most 100 findings; empty: it is valid.

        Paths begin with `prefix`.  Of a large instance only the first finding is told, and one that
        would take too long is refused.
        """
        by_depth = self._cost.by_depth
        if by_depth[-1] > _CHEAP:
            size, depth = _measure(instance)
            if depth >= len(by_depth) or size * by_depth[depth] > _MOST_EVALUATIONS:
                message = "too large or too deep to be validated against this schema"
                return (Problem(prefix, message, "too_complex"),)
        first = self._first_problem(instance, prefix)
        if first is None:
            return ()
        size, depth = _measure(instance)
        if size * by_depth[depth] > _MOST_TO_LIST:
            return (first,)
        errors = self._validator.iter_errors(instance)
        return tuple(_problem(error, prefix) for error in islice(errors, _MOST_LISTED))

    def _first_problem(self, instance: object, prefix: str) -> Problem | None:
        if self._cost.has_alternatives:
            # An error would come with the errors of all alternatives, far dearer than a verdict.
            if self._validator.is_valid(instance):
                return None
            message = "does not validate against the schema, and is too large to say where"
            return Problem(prefix, message, "bad_input")
        try:
            self._validator.validate(instance)
        except jsonschema_rs.ValidationError as error:
            return _problem(error, prefix)
        return None


def _problem(error: jsonschema_rs.ValidationError, prefix: str) -> Problem:
    message = error.message
    if len(message) > _LONGEST_MESSAGE:
        # The end says what was expected, the beginning repeats the value.
        message = f"… {message[-_LONGEST_MESSAGE:]}"
    return Problem(prefix + pointer(*error.instance_path), message, "bad_input")


def compile_schema(schema: dict[str, object]) -> Validator:
    """A validator for `schema` (decoded JSON); raises BadSchema.

    Refused are what the dialect's own schema refuses, another dialect, references out of the
    schema, regular expressions that are not linear (look-around, back-references) or very large,
    and schemas of which a small instance could keep the server busy.
    """
    if schema.get("$schema", DIALECT) not in (DIALECT, f"{DIALECT}#"):
        raise BadSchema("only JSON Schema 2020-12 is known", "/$schema")
    cost = estimate(schema)
    try:
        validator = jsonschema_rs.Draft202012Validator(schema, pattern_options=_REGEX, offline=True)
    except jsonschema_rs.ValidationError as error:
        message = error.message[:_LONGEST_MESSAGE]
        raise BadSchema(message, pointer(*error.instance_path)) from None
    return Validator(validator, cost)


def _measure(instance: object) -> tuple[int, int]:
    """About how many values `instance` has (long text counts as several), and how deep it is."""
    size = 0
    depth = -1
    level = [instance]
    while level:
        depth += 1
        size += len(level)
        deeper: list[object] = []
        for value in level:
            if isinstance(value, str):
                size += len(value) // _CHARACTERS_PER_EVALUATION
            elif isinstance(value, dict):
                deeper.extend(value.values())
            elif isinstance(value, list):
                deeper.extend(value)
        level = deeper
    return size, depth
