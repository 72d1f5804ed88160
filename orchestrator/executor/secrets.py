"""Secrets at the last moment: read for the claims that name some, hidden in whatever comes back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orchestrator.domain.masking import opened
from orchestrator.executor.plans import Plan, Plans
from orchestrator.store import Connection, secrets
from orchestrator.store.settling import Settled
from orchestrator.store.work import Claimed, Completion, Verdict
from tenants.sealing import Unreadable, unseal
from tenants.services.secrets import PURPOSE


def named(plan: Plan, claimed: Claimed) -> frozenset[str]:
    """The secrets that a claim's expressions name."""
    if claimed.kind == "output":
        output = plan.definition.output
        return frozenset() if output is None else output.secrets
    return plan.of(claimed).step.secrets


def opening(connection: Connection, plans: Plans, claims: list[Claimed]) -> list[Claimed]:
    """The claims, those that name secrets with their values: one statement, none where none does."""
    wanted = [named(plans.get(claim.version_id), claim) for claim in claims]
    asked = {
        (claim.tenant_id, name)
        for claim, names in zip(claims, wanted, strict=True)
        for name in names
    }
    if not asked:
        return claims
    found: dict[tuple[int, str], str | None] = {}
    for tenant, name, sealed in secrets.fetch(connection, sorted(asked)):
        try:
            found[tenant, name] = unseal(sealed, purpose=PURPOSE)
        except Unreadable:
            found[tenant, name] = None
    return [
        _with(claim, names, found) if names else claim
        for claim, names in zip(claims, wanted, strict=True)
    ]


def _with(
    claim: Claimed, names: Iterable[str], found: dict[tuple[int, str], str | None]
) -> Claimed:
    known = {n: found[claim.tenant_id, n] for n in names if (claim.tenant_id, n) in found}
    values = {name: value for name, value in known.items() if value is not None}
    return claim._replace(secrets=opened(values, known.keys() - values.keys()))


def hide(done: Completion) -> Completion:
    """The completion, with nothing in it that its claim's mask hides."""
    mask = done.claimed.mask
    if mask:
        done.output = None if done.output is None else mask.json(done.output)
        done.error = None if done.error is None else mask.json(done.error)
        done.reason = None if done.reason is None else mask.text(done.reason)
    return done


def hidden(verdict: Verdict | Settled) -> Verdict | Settled:
    """The same of control work."""
    mask = verdict.claimed.mask
    if not mask:
        return verdict
    if verdict.value is not None:
        is_word = isinstance(verdict, Verdict) and verdict.verdict == "skipped"
        value = mask.text(verdict.value) if is_word else mask.json(verdict.value)
        verdict = replace(verdict, value=value)
    if verdict.fallback is not None:
        verdict = replace(verdict, fallback=mask.json(verdict.fallback))
    return verdict
