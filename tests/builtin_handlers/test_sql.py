"""`core.sql`: values by placeholders, typed and bounded answers, errors with their SQLSTATE."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from orchestrator.builtin_handlers.sql import SqlFailed, SqlRefused, sql
from orchestrator.handlers import Abort, StepContext
from tenants.connections import Pools, Session
from tenants.models import Tenant
from tests.connections import conftest

db, make, pools, tenant = conftest.db, conftest.make, conftest.pools, conftest.tenant
Run = Callable[..., Any]


@pytest.fixture
def run(pools: Pools, tenant: Tenant) -> Run:
    """Calls `core.sql` as one step after the other."""

    def run(query: Any, params: Any = None, **more: Any) -> Any:
        async def step() -> Any:
            session = Session(pools, tenant.pk)
            context = StepContext(tenant.slug, uuid4(), "q", None, 1, {}, _session=session)
            try:
                return await sql(context, query=query, params=params, **more)
            finally:
                await session.aclose()

        return asyncio.run(step())

    return run


def test_values_go_by_placeholders(run: Run) -> None:
    evil = "'; DROP TABLE t; --"
    run("CREATE TABLE t (id bigint PRIMARY KEY, name text)")
    made = run("INSERT INTO t VALUES (%s, %s), (%s, %s)", [1, evil, 2**62, "ü"])
    assert made == {"rows": [], "row_count": 2}
    found = run("SELECT * FROM t WHERE name = %(name)s", {"name": evil})
    assert found == {"rows": [{"id": 1, "name": evil}], "row_count": 1}
    assert run("UPDATE t SET name = '' RETURNING id")["row_count"] == 2
    assert run("SELECT 5 % 3 AS rest") == {"rows": [{"rest": 2}], "row_count": 1}
    assert run("SELECT 5 %% %s AS rest", [3])["rows"] == [{"rest": 2}]


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("true", True),
        ("null::int", None),
        ("9223372036854775807::bigint", 2**63 - 1),
        ("18446744073709551617::numeric", 2**64 + 1),
        ("12.50::numeric(9,2)", 12.5),
        ("0.1234567890123456789::numeric", "0.1234567890123456789"),
        ("'NaN'::numeric", "NaN"),
        ("1.5::float8", 1.5),
        ("'-Infinity'::float8", "-inf"),
        ("'2026-01-02 03:04:05+02'::timestamptz", "2026-01-02T01:04:05.000000Z"),
        ("'2026-01-02 03:04:05'::timestamp", "2026-01-02T03:04:05.000000"),
        ("'2026-01-02'::date", "2026-01-02"),
        ("'1 hour 30 s'::interval", 3630.0),
        ("'00000000-0000-0000-0000-000000000001'::uuid", "00000000-0000-0000-0000-000000000001"),
        ("'\\xdeadbeef'::bytea", "deadbeef"),
        ("ARRAY[1, 2, NULL]", [1, 2, None]),
        ("'{\"a\": [1, 18446744073709551617]}'::jsonb", {"a": [1, 2**64 + 1]}),
        ("'10.0.0.1'::inet", "10.0.0.1"),
    ],
)
def test_types_become_json(run: Run, expression: str, value: object) -> None:
    assert run(f"SELECT {expression} AS v")["rows"] == [{"v": value}]


@pytest.mark.parametrize(
    ("cast", "value", "back"),
    [
        ("numeric", 2**70, 2**70),
        ("int[]", [1, 2], [1, 2]),
        ("jsonb", {"a": {"b": 2**64}}, {"a": {"b": 2**64}}),
        ("jsonb", [{"a": 1}], [{"a": 1}]),
        ("text", "x", "x"),
        ("bool", False, False),
        ("int", None, None),
    ],
)
def test_json_becomes_types(run: Run, cast: str, value: object, back: object) -> None:
    assert run(f"SELECT %s::{cast} AS v", [value])["rows"] == [{"v": back}]


def test_answers_are_bounded_and_then_nothing_has_happened(run: Run) -> None:
    run("CREATE TABLE t (n int)")
    many = "INSERT INTO t SELECT generate_series(1, 1001) RETURNING n"
    with pytest.raises(Abort, match="more than 1,000 rows"):
        run(many)
    assert run("SELECT count(*) AS n FROM t")["rows"] == [{"n": 0}]
    assert run(many, max_rows=2000)["row_count"] == 1001
    with pytest.raises(Abort, match=r"larger than 2,000 bytes"):
        run("SELECT n FROM t ORDER BY n", max_rows=2000, max_bytes=2000)


@pytest.mark.parametrize(
    ("rows", "width"), [(1_000, 200), (1_000, 500), (1_000, 1_000), (10, 100_000), (1, 1_000_000)]
)
def test_an_answer_within_its_bound_is_whole(run: Run, rows: int, width: int) -> None:
    query = f"SELECT i, repeat('x', {width}) AS t FROM generate_series(1, {rows}) i"
    for _ in range(5):  # what is there to be read at a time is another thing each time
        found = run(query)["rows"]
        assert (len(found), found[-1]) == (rows, {"i": rows, "t": "x" * width})


def test_many_short_rows_are_no_long_answer(run: Run) -> None:
    query = "SELECT 1 AS a FROM generate_series(1, 100000)"
    assert run(query, max_rows=100_000)["rows"] == [{"a": 1}] * 100_000


@pytest.mark.parametrize(("rows", "width"), [(1_000_000, 300), (10_000, 30_000)])
def test_an_answer_beyond_its_bound_is_not_read_to_its_end(run: Run, rows: int, width: int) -> None:
    run("CREATE SEQUENCE sent")
    query = f"SELECT nextval('sent'), repeat('x', {width}) FROM generate_series(1, {rows})"
    with pytest.raises(Abort, match=r"larger than 1,048,576 bytes"):
        run(query, max_rows=100_000)
    sent = run("SELECT last_value FROM sent")["rows"][0]["last_value"]
    assert sent * width < 10 * 1024 * 1024, "of 300 MB"


def test_one_huge_row_is_not_read_to_its_end(run: Run) -> None:
    with pytest.raises(Abort, match=r"larger than 1,048,576 bytes"):
        run("SELECT repeat('x', 300000000) AS huge")


@pytest.mark.parametrize(
    ("query", "params", "said"),
    [
        ("SELECT 1; DROP TABLE t", None, "42601"),
        ("SELEC 1", None, "42601 SyntaxError: syntax error"),
        ("SELECT * FROM absent", None, "42P01"),
        ("SELECT 1/0", None, "22012"),
        ("SELECT * FROM public.run", None, "42501"),
        ("SELECT %s", [1, 2], "1 placeholders but 2 parameters"),
        ("SELECT %(a)s", {"b": 1}, "parameter missing"),
        ("SELECT %s", ["a\0b"], "NUL"),
        ("SELECT 'infinity'::timestamptz", None, "timestamp too large"),
        ("COPY (SELECT 1) TO STDOUT", None, "COPY"),
    ],
)
def test_what_is_wrong_is_refused_for_good(run: Run, query: str, params: Any, said: str) -> None:
    with pytest.raises(SqlRefused, match=r"core\.sql: ") as caught:
        run(query, params)
    assert said in str(caught.value)
    assert isinstance(caught.value, Abort)


@pytest.mark.parametrize(
    "more",
    [{"query": " "}, {"params": "x"}, {"max_rows": -1}, {"max_bytes": 0}],
)
def test_arguments_out_of_range(run: Run, more: dict[str, Any]) -> None:
    with pytest.raises(Abort, match=r"core\.sql: "):
        run(**{"query": "SELECT 1", **more})


def test_two_columns_of_one_name(run: Run) -> None:
    with pytest.raises(Abort, match="two columns"):
        run("SELECT 1 AS a, 2 AS a")


def test_a_unique_violation_names_the_key(run: Run) -> None:
    run("CREATE TABLE t (id int PRIMARY KEY)")
    run("INSERT INTO t VALUES (1)")
    with pytest.raises(SqlRefused, match=r"23505 UniqueViolation: .*\(id\)=\(1\)"):
        run("INSERT INTO t VALUES (1)")


def test_a_conflict_is_tried_again_and_then_left_to_the_policy(run: Run, tenant: Tenant) -> None:
    run("CREATE SEQUENCE tries")
    run(
        "CREATE FUNCTION conflict(times int) RETURNS bigint LANGUAGE plpgsql AS $$"
        " DECLARE n bigint := nextval('tries'); BEGIN"
        " IF n <= times THEN RAISE EXCEPTION 'no' USING ERRCODE = '40001'; END IF; RETURN n; END $$"
    )
    assert run("SELECT conflict(2) AS n")["rows"] == [{"n": 3}]
    with pytest.raises(SqlFailed, match="40001"):
        run("SELECT conflict(100) AS n")


def test_a_session_that_is_ended_may_be_tried_again(run: Run) -> None:
    with pytest.raises(SqlFailed, match="57P01"):
        run("SELECT pg_terminate_backend(pg_backend_pid())")
    assert run("SELECT 1 AS a")["row_count"] == 1


def test_it_needs_a_worker() -> None:
    context = StepContext("t", uuid4(), "q", None, 1, {})
    with pytest.raises(RuntimeError, match="while a worker runs the step"):
        asyncio.run(sql(context, query="SELECT 1"))
    assert issubclass(SqlRefused, Abort)
    assert psycopg.errors.lookup("40001") is psycopg.errors.SerializationFailure
