"""Lines of handlers: written in the order of commits, read by key, gone with their days and runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest

from orchestrator import store
from orchestrator.domain.steplog import Line
from orchestrator.models import AttemptLog
from orchestrator.store import Connection, clock, connect, logs
from orchestrator.store.logs import LogQuery, LogRows, Written
from orchestrator.store.work import Claimed
from tenants import fence

NOTHING = LogQuery()


def claim(run_id: UUID, ordinal: int = 0, **more: int) -> Claimed:
    """A claimed step."""
    facts = {"tenant_id": 7, "batch": 0, "epoch": 1, "attempts": 0, **more}
    return Claimed(
        "step", facts["tenant_id"], run_id, ordinal, facts["batch"], 1, facts["epoch"],
        facts["attempts"], 0, False, None, None, "{}", None, None, None, None, False,
    )  # fmt: skip


def lines(claimed: Claimed, *messages: str, level: int = 20, first: int = 1) -> list[Written]:
    """These lines of an attempt, logged just now."""
    now = time.monotonic()
    return [
        Written(claimed, Line(number, now, level, message, '{"n":1}'))
        for number, message in enumerate(messages, first)
    ]


def read(run_id: UUID, query: LogQuery = NOTHING, *, limit: int = 100, newest: bool = False,
         scanned: int = 20_000) -> LogRows:  # fmt: skip
    """What the tenant reads of the run."""
    return logs.read(
        store.connection(), tenant_id=7, run_id=run_id, query=query, limit=limit, newest=newest,
        scanned=scanned,
    )  # fmt: skip


def messages(found: LogRows) -> list[str]:
    return [row.message for row in found.rows]


@pytest.mark.django_db
def test_lines_are_kept_with_when_they_were_logged() -> None:
    run_id = uuid4()
    line = Line(1, time.monotonic() - 60, 30, "a minute ago", None)
    logs.write(store.connection(), [Written(claim(run_id, 2, attempts=3), line)])
    logs.write(store.connection(), lines(claim(run_id), "now"))
    old, new = read(run_id).rows
    assert 59 < (new.at - old.at).total_seconds() < 120
    assert (old.ordinal, old.attempt, old.level, old.fields) == (2, 4, 30, None)
    assert new.fields == '{"n":1}'
    assert str(AttemptLog.objects.get(pk=old.id)).endswith("a minute ago")
    stranger = logs.read(store.connection(), tenant_id=8, run_id=run_id, query=NOTHING, limit=9)
    assert stranger.rows == []


@pytest.mark.django_db
def test_pages_go_on_behind_a_line_in_both_directions() -> None:
    run_id = uuid4()
    logs.write(store.connection(), lines(claim(run_id), *"abcde"))
    first = read(run_id, limit=2)
    assert messages(first) == ["a", "b"]
    assert first.more_from == first.rows[-1].id
    second = read(run_id, LogQuery(after=first.more_from), limit=3)
    assert (messages(second), second.more_from) == (["c", "d", "e"], None)
    newest = read(run_id, limit=2, newest=True)
    assert messages(newest) == ["e", "d"]
    older = read(run_id, LogQuery(before=newest.more_from), limit=3, newest=True)
    assert (messages(older), older.more_from) == (["c", "b", "a"], None)


@pytest.mark.django_db
def test_a_page_is_narrowed() -> None:
    run_id = uuid4()
    logs.write(store.connection(), lines(claim(run_id, 0), "Of one", level=10))
    logs.write(store.connection(), lines(claim(run_id, 1, batch=3, attempts=1), "of TWO"))
    logs.write(store.connection(), lines(claim(run_id, 1), "100%", level=40))
    asked = {
        LogQuery(ordinal=1): ["of TWO", "100%"],
        LogQuery(batch=3): ["of TWO"],
        LogQuery(attempt=2): ["of TWO"],
        LogQuery(level=20): ["of TWO", "100%"],
        LogQuery(text="two"): ["of TWO"],
        LogQuery(text="%"): ["100%"],
        LogQuery(ordinal=0, level=20): [],
    }
    assert {query: messages(read(run_id, query)) for query in asked} == asked


@pytest.mark.django_db
def test_a_page_looks_through_so_many_lines_and_says_where_to_go_on() -> None:
    run_id = uuid4()
    written = [*lines(claim(run_id), *(["no"] * 9)), *lines(claim(run_id), "yes", first=10)]
    logs.write(store.connection(), written)
    query, found, pages = LogQuery(text="yes"), [], 0
    page = read(run_id, query, limit=2, scanned=4)
    while page.more_from is not None:
        pages += 1
        page = read(run_id, LogQuery(text="yes", after=page.more_from), limit=2, scanned=4)
        found += messages(page)
    assert (found, pages) == (["yes"], 2)
    page = read(run_id, LogQuery(text="no"), limit=2, scanned=4, newest=True)
    assert len(page.rows) == 2


@pytest.mark.django_db
def test_what_is_sent_again_is_there_once() -> None:
    run_id = uuid4()
    written = lines(claim(run_id), "a", "b")
    logs.write(store.connection(), written)
    logs.write(store.connection(), [*written, *lines(claim(run_id), "c", first=3)], again=True)
    logs.write(store.connection(), lines(claim(run_id, epoch=2), "a"), again=True)
    assert messages(read(run_id)) == ["a", "b", "c", "a"]


@pytest.mark.django_db(transaction=True)
def test_within_a_run_no_line_commits_behind_a_later_one() -> None:
    """Whoever has read up to a line has read all before it: a second writer of the run waits until
    the first one's lines are there, writers of other runs do not."""
    run_id, other = uuid4(), uuid4()
    with (
        connect(name="one", role=fence.WORKER) as one,
        connect(name="two", role=fence.WORKER) as two,
        connect(name="three") as three,
    ):
        with one.transaction():
            logs.write(one, lines(claim(run_id), "first"))
            later = threading.Thread(target=_write, args=(two, lines(claim(run_id), "second")))
            later.start()
            _until_waits(three, two.info.backend_pid)
            logs.write(three, lines(claim(other), "elsewhere"))
            assert messages(read(other)) == ["elsewhere"]
            assert messages(read(run_id)) == []
        later.join(30)
    assert messages(read(run_id)) == ["first", "second"]


def _write(connection: Connection, written: Sequence[Written]) -> None:
    logs.write(connection, written)


def _until_waits(connection: Connection, pid: int) -> None:
    end = time.monotonic() + 30
    while not connection.execute(
        "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted", (pid,)
    ).fetchone():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.django_db
def test_lines_have_partitions_ahead_and_old_ones_are_dropped() -> None:
    connection = store.connection()
    clock.make_log_partitions(connection, days_ahead=3)
    assert clock.make_log_partitions(connection, days_ahead=3) == 0
    assert clock.make_log_partitions(connection, days_ahead=5) == 2
    assert clock.drop_log_partitions(connection, days=14) == 0
    connection.execute(
        "CREATE TABLE attempt_log_20200101 PARTITION OF attempt_log"
        " FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
    )
    assert clock.drop_log_partitions(connection, days=14) == 1
