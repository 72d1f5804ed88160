"""Schemas validate as JSON Schema says, and cannot be made to take for ever."""

import pytest

from orchestrator.domain.errors import Problem
from orchestrator.domain.schemas import BadSchema, compile_schema

Schema = dict[str, object]
TREE: Schema = {
    "type": "object",
    "properties": {"left": {"$ref": "#"}, "right": {"$ref": "#"}},
    "additionalProperties": False,
}
TWICE: Schema = {
    "type": ["object", "integer"],
    "properties": {"a": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}},
}


def paths(schema: Schema, instance: object) -> list[str]:
    return [problem.path for problem in compile_schema(schema).problems(instance)]


def inside(depth: int, leaf: object, key: str = "a") -> object:
    for _ in range(depth):
        leaf = {key: leaf}
    return leaf


def test_problems_have_paths_and_messages() -> None:
    schema: Schema = {
        "type": "object",
        "required": ["user_id"],
        "properties": {"user_id": {"type": "integer"}, "a/b": {"items": {"type": "string"}}},
    }
    validator = compile_schema(schema)
    assert validator.problems({"user_id": 1}) == ()
    assert validator.problems({}) == (
        Problem("/input", '"user_id" is a required property', "bad_input"),
    )
    found = validator.problems({"user_id": "x", "a/b": ["x", 5]}, "/in")
    assert {problem.path for problem in found} == {"/in/a~1b/1", "/in/user_id"}


@pytest.mark.parametrize(
    "number", [2**63, 2**64, 2**64 + 1, -(2**64), 10**400, 10**4298], ids=range(6)
)
def test_integers_of_any_size(number: int) -> None:
    assert paths({"type": "integer"}, number) == []
    assert paths({"type": "integer", "multipleOf": 1}, number) == []
    assert paths({"type": "string"}, number) == ["/input"]
    assert paths({"const": number}, number) == []
    assert paths({"const": number + 1}, number) == ["/input"]
    assert paths({"enum": [number - 1, number]}, number) == []
    assert paths({"maximum": number, "minimum": number}, number) == []
    assert paths({"maximum": number - 1}, number) == ["/input"]
    assert paths({"minimum": number + 1}, number) == ["/input"]


@pytest.mark.parametrize(
    ("schema", "place", "message"),
    [
        ({"type": "integr"}, "/type", "integr"),
        ({"properties": {"a": {"minimum": "x"}}}, "/properties/a/minimum", "number"),
        ({"properties": []}, "/properties", "object"),
        ({"allOf": {}}, "/allOf", "array"),
        ({"$ref": 5}, "/$ref", "string"),
        ({"items": [{"type": "string"}]}, "/items", "object"),
        ({"pattern": "(?=a)"}, "/pattern", "regex"),
        ({"pattern": "(a)\\1"}, "/pattern", "regex"),
        ({"pattern": "(a{1,500}){1,500}"}, "/pattern", "regex"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema", "2020-12"),
        ({"$ref": "https://example.com/x.json"}, "/$ref", "within the schema"),
        ({"$ref": "file:///etc/passwd"}, "/$ref", "within the schema"),
        ({"items": {"$ref": "other.json"}}, "/items/$ref", "within the schema"),
        ({"$ref": "#/$defs/none"}, "/$ref", "nothing at"),
        ({"$ref": "#/allOf/5", "allOf": [True]}, "/$ref", "nothing at"),
        ({"$ref": "#/allOf/x", "allOf": [True]}, "/$ref", "nothing at"),
        ({"$ref": "#/type/x", "type": "object"}, "/$ref", "nothing at"),
        ({"$ref": "#nowhere"}, "/$ref", "no anchor"),
        ({"$defs": {"a": {"$id": "a.json"}}}, "/$defs/a/$id", "root only"),
        ({"$ref": "#"}, "", "refers to itself"),
        ({"allOf": [{"anyOf": [{"$ref": "#"}]}]}, "", "refers to itself"),
    ],
)
def test_what_is_no_schema(schema: Schema, place: str, message: str) -> None:
    with pytest.raises(BadSchema) as caught:
        compile_schema(schema)
    assert caught.value.pointer == place
    assert message in caught.value.message


@pytest.mark.parametrize(
    "schema",
    [
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "integer"},
        {"$schema": "https://json-schema.org/draft/2020-12/schema#", "type": "integer"},
        {"$id": "https://example.com/order.json", "type": "integer"},
        {"$defs": {"a/b c": {"type": "integer"}}, "$ref": "#/$defs/a~1b%20c"},
        {"$defs": {"a": {"$anchor": "here", "type": "integer"}}, "$ref": "#here"},
        {"$dynamicAnchor": "node", "type": "integer", "items": {"$dynamicRef": "#node"}},
        {"x-note": {"type": "integer"}, "$ref": "#/x-note"},
        {"definitions": {"a": {"type": "integer"}}, "allOf": [{"$ref": "#/definitions/a"}]},
        {"allOf": [True, {"type": "integer"}], "not": False},
        {"if": {"type": "string"}, "then": False, "else": {"type": "integer"}},
        {"const": {"$ref": "https://example.com"}, "type": "integer", "not": {}},
    ],
)
def test_what_a_schema_may_say(schema: Schema) -> None:
    assert paths(schema, "x") != []


def test_every_kind_of_part_is_followed() -> None:
    leaf = {"type": "integer"}
    schema: Schema = {
        "properties": {"a": leaf},
        "patternProperties": {"^b": leaf, "c$": leaf},
        "additionalProperties": {"type": "string"},
        "propertyNames": {"maxLength": 2},
        "dependentSchemas": {"a": {"required": ["b"]}},
        "prefixItems": [leaf],
        "items": {"type": "string"},
        "contains": {"const": 1},
        "unevaluatedItems": False,
        "unevaluatedProperties": False,
    }
    validator = compile_schema(schema)
    assert validator.problems({"a": 1, "b": 2, "bc": 3, "x": "y"}) == ()
    assert validator.problems([1, "x"]) == ()
    assert len(validator.problems({"a": "x", "bc": "x", "xyz": 1})) >= 4
    assert len(validator.problems(["x", 1])) >= 2


def test_a_tree_may_be_deep() -> None:
    assert paths(TREE, inside(95, {}, "left")) == []
    assert paths(TREE, inside(30, {"x": 1}, "left")) == ["/input" + "/left" * 30]


def test_definitions_that_double_are_refused() -> None:
    defs: dict[str, object] = {
        f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]}
        for n in range(30)
    }
    defs["d30"] = {"type": "integer"}
    with pytest.raises(BadSchema, match="too long"):
        compile_schema({"$defs": defs, "$ref": "#/$defs/d0"})


def test_recursion_that_doubles_is_bounded_by_depth() -> None:
    validator = compile_schema(TWICE)
    assert validator.problems(inside(6, 1)) == ()
    assert [problem.path for problem in validator.problems(inside(6, "x"))] == ["/input/a"]
    assert validator.problems(inside(11, 1)) == ()
    [problem] = validator.problems(inside(11, "x"))
    assert (problem.path, problem.code) == ("/input", "bad_input")
    assert "too large to say where" in problem.message
    for leaf in (1, "x"):
        [problem] = validator.problems(inside(60, leaf))
        assert problem.code == "too_complex"


def test_a_large_instance_of_a_costly_schema_is_refused() -> None:
    wide: Schema = {"items": {"allOf": [{"minimum": n} for n in range(1_000)]}}
    validator = compile_schema(wide)
    assert validator.problems([1_000] * 100) == ()
    [problem] = validator.problems([1_000] * 200_000)
    assert problem.code == "too_complex"


def test_of_a_large_instance_the_first_problem_is_told() -> None:
    schema: Schema = {"items": {"type": "string"}}
    assert len(paths(schema, list(range(1_000)))) == 100
    assert paths(schema, ["x"] * 60_000 + [5]) == ["/input/60000"]
    assert paths(schema, ["x" * 100_000] * 100) == []


def test_a_schema_has_a_bounded_number_of_parts() -> None:
    with pytest.raises(BadSchema, match="at most 5,000 parts"):
        compile_schema({"properties": {f"p{n}": {} for n in range(6_000)}})


def test_long_messages_are_cut_before_what_was_expected() -> None:
    [problem] = compile_schema({"type": "integer"}).problems("x" * 10_000)
    assert len(problem.message) < 310
    assert problem.message.endswith('is not of type "integer"')
