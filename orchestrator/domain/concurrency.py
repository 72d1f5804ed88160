"""Which runs share the places of their workflow's `concurrency`: those with the same key."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.domain import jsonvalue
from orchestrator.domain.definition import ConcurrencySpec

LONGEST = 200


def concurrency_key(
    spec: ConcurrencySpec, *, value: object, run_id: str, labels: Mapping[str, str], tenant: str
) -> str:
    """What the key comes to for a run with this input `value`: its JSON, or a fingerprint where it is
    long or no scalar.

    Raises ExpressionFailed, and jsonvalue.NotJson for a key that is none."""
    key = spec.key.evaluate(
        {
            "input": value,
            "run": {"id": run_id, "labels": dict(labels)},
            "tenant": {"slug": tenant},
            "secrets": {},
        }
    )
    if isinstance(key, float) and key.is_integer():
        key = int(key)
    text = jsonvalue.encode(key)
    if isinstance(key, (dict, list, tuple)) or len(text) > LONGEST:
        return f"sha256:{jsonvalue.fingerprint(key)}"
    return text
