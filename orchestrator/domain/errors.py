"""What can go wrong, as data: a code, an HTTP category and facts, with the docstring as the message.

Each interface translates these in one place (the API to problem details, the commands to one
sentence); nobody compares messages.
"""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding in a document.

    `path` is a JSON Pointer (RFC 6901) into the document; of a missing key, its parent's.
    `code` is stable, `message` is for people.
    """

    path: str
    message: str
    code: str


def pointer(*parts: str | int) -> str:
    """The JSON Pointer of `parts`, escaped: `pointer("steps", 2, "a/b")` is `/steps/2/a~1b`."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in parts)


class _Facts(dict[str, object]):
    """Facts for a message; one that was not given stands as its own name."""

    def __missing__(self, name: str) -> str:
        return name


class MillraceError(Exception):
    """The request could not be carried out."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Something went wrong"

    def __init__(self, message: str | None = None, **facts: object) -> None:
        """Without `message`, the class's docstring is used; `{names}` in it are taken from `facts`."""
        self.facts: dict[str, object] = facts
        self.message: str = message if message is not None else self._documented(facts)
        super().__init__(self.message)

    @classmethod
    def _documented(cls, facts: dict[str, object]) -> str:
        text = inspect.getdoc(cls) or cls.title
        summary = " ".join(text.split("\n\n", 1)[0].split())
        return summary.format_map(_Facts(facts))


class Malformed(MillraceError):
    """The body could not be read."""

    code = "malformed"
    status = 400
    title = "Malformed request"


class Unauthorized(MillraceError):
    """A valid API key is needed."""

    code = "unauthorized"
    status = 401
    title = "Not authenticated"


class Forbidden(MillraceError):
    """The key does not allow this."""

    code = "forbidden"
    status = 403
    title = "Not allowed"


class NotFound(MillraceError):
    """There is no such thing."""

    code = "not_found"
    status = 404
    title = "Not found"


class Conflict(MillraceError):
    """The present state does not allow this."""

    code = "conflict"
    status = 409
    title = "Conflict"


class TooLarge(MillraceError):
    """The body is larger than allowed."""

    code = "too_large"
    status = 413
    title = "Too large"


class Invalid(MillraceError):
    """The request is not valid.

    `problems` lists every finding with its place.
    """

    code = "invalid"
    status = 422
    title = "Not valid"

    def __init__(
        self, message: str | None = None, *, problems: Iterable[Problem] = (), **facts: object
    ) -> None:
        """`problems` in the order in which they were found."""
        super().__init__(message, **facts)
        self.problems: tuple[Problem, ...] = tuple(problems)


class OverQuota(MillraceError):
    """The quota {quota} of {value} is used up ({use}); try again in {retry_after} s.

    Facts: `quota` (its name), `value` (the limit), `use` (the present use), `retry_after` (whole
    seconds, at least 1).
    """

    code = "over_quota"
    status = 429
    title = "Over quota"

    def __init__(
        self,
        message: str | None = None,
        *,
        quota: str,
        value: int | float,
        use: int | float,
        retry_after: int = 1,
        **facts: object,
    ) -> None:
        """See the class for the facts' meaning."""
        super().__init__(
            message, quota=quota, value=value, use=use, retry_after=retry_after, **facts
        )


class PayloadUnavailable(MillraceError):
    """An input or output cannot be read: {reason}."""

    code = "payload_unavailable"
    status = 503
    title = "Payload unavailable"


class KeyInvalid(Unauthorized):
    """The API key is missing, unknown, expired or revoked."""

    code = "invalid_key"


class ScopeMissing(Forbidden):
    """The API key lacks the scope {scope}."""

    code = "missing_scope"


class TenantSuspended(Forbidden):
    """The tenant is suspended."""

    code = "tenant_suspended"


class WorkflowNotFound(NotFound):
    """There is no such workflow."""

    code = "workflow_not_found"


class VersionNotFound(NotFound):
    """The workflow has no such version."""

    code = "version_not_found"


class RunNotFound(NotFound):
    """There is no such run."""

    code = "run_not_found"


class StepNotFound(NotFound):
    """The run has no such step."""

    code = "step_not_found"


class PoolNotFound(NotFound):
    """There is no such pool."""

    code = "pool_not_found"


class ActionNotFound(NotFound):
    """There is no such action."""

    code = "action_not_found"


class ScheduleNotFound(NotFound):
    """There is no such schedule."""

    code = "schedule_not_found"


class BackfillNotFound(NotFound):
    """The schedule has no such backfill."""

    code = "backfill_not_found"


class SlaNotFound(NotFound):
    """There is no such SLA."""

    code = "sla_not_found"


class ProposalNotFound(NotFound):
    """There is no such proposal, or it was decided."""

    code = "proposal_not_found"


class TriggerNotFound(NotFound):
    """There is no such trigger."""

    code = "trigger_not_found"


class AlertNotFound(NotFound):
    """There is no such alert."""

    code = "alert_not_found"


class ChannelNotFound(NotFound):
    """There is no such channel."""

    code = "channel_not_found"


class SilenceNotFound(NotFound):
    """There is no such silence."""

    code = "silence_not_found"


class WindowNotFound(NotFound):
    """There is no such maintenance window."""

    code = "window_not_found"


class HookRefused(Unauthorized):
    """There is no such hook, or the request's signature or time is not right."""

    code = "hook_refused"


class TenantNotFound(NotFound):
    """There is no such tenant."""

    code = "tenant_not_found"


class StateConflict(Conflict):
    """The state {state} does not allow {action}."""

    code = "state_conflict"


class ConcurrencyConflict(Conflict):
    """As many runs with this concurrency key are running as the workflow takes ({limit})."""

    code = "concurrency_conflict"


class SignalNotFound(NotFound):
    """No step of the run waits for such a signal."""

    code = "signal_not_found"


class PoolInUse(Conflict):
    """The pool is in use."""

    code = "pool_in_use"


class DepthExceeded(TooLarge):
    """The body is nested more than 100 levels deep."""

    code = "too_deep"


class MalformedJson(Malformed):
    """The body is not valid JSON in UTF-8."""

    code = "malformed_json"


class InvalidDefinition(Invalid):
    """The definition is not valid."""

    code = "invalid_definition"


class InvalidInput(Invalid):
    """The input does not validate against the workflow's input_schema."""

    code = "invalid_input"


class InvalidRequest(Invalid):
    """The request is not valid."""

    code = "invalid_request"


class InvalidCursor(Invalid):
    """The cursor is not one that a list gave out."""

    code = "invalid_cursor"


class IdempotencyMismatch(Invalid):
    """The Idempotency-Key was used before with another body."""

    code = "idempotency_key_reused"
