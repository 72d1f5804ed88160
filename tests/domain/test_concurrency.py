"""Keys of `concurrency`: the same for what is the same, and never long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.concurrency import LONGEST, concurrency_key
from orchestrator.domain.definition import ConcurrencySpec, parse_definition
from orchestrator.domain.expressions import ExpressionFailed

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(st.characters(codec="ascii", min_codepoint=32)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("k"), inner),
    max_leaves=5,
)


def spec(key: object) -> ConcurrencySpec:
    document = {
        "name": "w",
        "steps": [{"name": "a", "handler": "h"}],
        "concurrency": {"key": key},
    }
    found = parse_definition(document).concurrency
    assert found is not None
    return found


def key(of: object, value: object) -> str:
    return concurrency_key(
        spec(of), value=value, run_id="r", labels={"team": "blue"}, tenant="acme"
    )


@given(JSON, JSON)
def test_keys_are_the_same_exactly_for_the_same_values(one: object, other: object) -> None:
    keys = [key("${{ input.x }}", {"x": value}) for value in (one, other)]
    assert (keys[0] == keys[1]) == (repr(one) == repr(other))
    assert all(len(text) <= LONGEST for text in keys)


def test_what_a_key_sees() -> None:
    assert key("${{ tenant.slug }}-${{ run.labels.team }}-${{ run.id }}", {}) == '"acme-blue-r"'
    assert key("${{ input.n }}", {"n": 2.0}) == key("${{ input.n }}", {"n": 2}) == "2"
    with pytest.raises(ExpressionFailed):
        key("${{ input.none }}", {})
