"""What a published definition is, typed and frozen."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from orchestrator.domain.expressions import Template
from orchestrator.domain.retries import RetryPolicy
from orchestrator.domain.statuses import TriggerRule

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,62}"
LABEL_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
"""Of queues, signals and pools."""
STEP_NAME_PATTERN = r"[a-z][a-z0-9_]{0,62}"

DEFAULT_RUN_TIMEOUT = timedelta(days=7)
DEFAULT_STEP_TIMEOUT = timedelta(hours=1)
DEFAULT_QUEUE = "io"
DEFAULT_PRIORITY = 5

StepKind = Literal["handler", "workflow", "signal", "sleep"]
HandlerKind = Literal["async", "blocking", "cpu"]


@dataclass(frozen=True, slots=True)
class HandlerInfo:
    """What publishing needs to know of a registered handler.

    `queue` and `timeout` are the decorator's (None: not given).  `parameters` are the names it
    takes, None when its signature cannot be read; `required` those without a default;
    `accepts_any` whether it takes `**kwargs`; `batch` whether it takes a list of items; `constant` the
    arguments that may not hold expressions.
    """

    name: str
    queue: str | None = None
    timeout: timedelta | None = None
    parameters: tuple[str, ...] | None = None
    required: tuple[str, ...] = ()
    accepts_any: bool = False
    batch: bool = False
    kind: HandlerKind = "async"
    constant: tuple[str, ...] = ()


Handlers = Callable[[str], HandlerInfo | None]
Known = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Call:
    """A handler and its arguments: of `compensate`, of `undo`, of a map's source.

    `queue` and `timeout` are its decorator's, else the defaults.  `needs` are the ordinals of the
    steps to which `args` refers, `secrets` which secrets those name."""

    handler: str
    args: Template
    queue: str = DEFAULT_QUEUE
    timeout: timedelta = DEFAULT_STEP_TIMEOUT
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    needs: tuple[int, ...] = ()
    secrets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MapSpec:
    """A step called once per item.  `max_failures` is None unless `on_error` gives it."""

    over: Template | Call
    batch_size: int
    max_in_flight: int
    ordered: bool
    on_error: Literal["fail_fast", "continue", "max_failures"]
    max_failures: int | None
    collect: bool


@dataclass(frozen=True, slots=True)
class CacheSpec:
    """Outputs kept per tenant under `key` for `ttl`."""

    key: Template
    ttl: timedelta


@dataclass(frozen=True, slots=True)
class RepeatSpec:
    """A step run again, at most `max` times in all, until `until` holds, `delay` apart."""

    until: Template
    max: int
    delay: timedelta


@dataclass(frozen=True, slots=True)
class ConcurrencySpec:
    """How many runs with the same `key` may be running."""

    key: Template
    limit: int
    on_conflict: Literal["queue", "cancel_oldest", "reject"]


@dataclass(frozen=True, slots=True)
class Step:
    """A node of the graph.  `parents`, `children` and `needs` are ordinals of other steps.

    `depends_on` is what the user wrote followed by what the expressions refer to, each once.
    `timeout` (of one attempt) and `queue` are resolved: the step's, else the decorator's, else the
    default; `timeout_given` says whether the step itself names one (a signal's wait is limited only
    then).  `needs` are the steps to which an expression that is evaluated before the step runs
    refers (`if`, `args`, a map's `over`, `cache.key`), `needs_input` whether one of those, or
    `repeat.until`, refers to the input, `secrets` which secrets those name; `batch_needs` and
    `batch_needs_input` are the same for a map's `args` alone, which are evaluated for each batch.
    `payload_schema` (of a signal step) is None when any payload is accepted.
    `document` is what the user wrote for it.
    """

    ordinal: int
    name: str
    kind: StepKind
    handler: str | None
    workflow: str | None
    signal: str | None
    payload_schema: dict[str, object] | None
    sleep: timedelta | None
    args: Template
    depends_on: tuple[str, ...]
    parents: tuple[int, ...]
    children: tuple[int, ...]
    condition: Template | None
    trigger_rule: TriggerRule
    retry: RetryPolicy
    timeout: timedelta
    timeout_given: bool
    heartbeat: timedelta | None
    queue: str
    pool: str | None
    has_on_error_value: bool
    on_error_value: object
    map: MapSpec | None
    compensate: Call | None
    undo: Call | None
    cache: CacheSpec | None
    repeat: RepeatSpec | None
    needs: tuple[int, ...]
    needs_input: bool
    batch_needs: tuple[int, ...]
    batch_needs_input: bool
    secrets: frozenset[str]
    document: dict[str, object]


@dataclass(frozen=True, slots=True)
class Definition:
    """A workflow's graph, validated.

    `input_schema` is None when anything is accepted.  `output` is None when the default applies
    (the only leaf's output, else an object of all leaves' outputs); `output_needs` are the steps
    that either asks for.  `document` is what the user wrote, JSON-exact, with `name` filled in and
    no defaults; `checksum` (SHA-256, hex) is the same for the same content in whatever key order.
    """

    name: str
    description: str
    input_schema: dict[str, object] | None
    timeout: timedelta
    max_parallel: int | None
    fail_fast: bool
    priority: int
    concurrency: ConcurrencySpec | None
    steps: tuple[Step, ...]
    leaves: tuple[int, ...]
    output: Template | None
    output_needs: tuple[int, ...]
    document: dict[str, object]
    checksum: str
