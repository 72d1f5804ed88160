"""The clock's lanes: who shares a thread, what a failure stops, whose a duty is, what all of it holds."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from orchestrator.clock import Clock, Duty, Lane, lanes, running
from orchestrator.clock.duties import Publisher
from orchestrator.conf import conf
from orchestrator.models import Duty as DutyRow
from orchestrator.selectors import health
from orchestrator.store import Connection, clock, connect

pytestmark = pytest.mark.django_db(transaction=True)

URGENT = {"due", "expire", "wake", "reap", "schedules"}
SLOW_S = 60.0
MOST_CONNECTIONS = 14
"""Of a clock; docs/operations.md says so."""
HELD = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND datname = current_database()"
END = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = %s"
AWAIT = "SELECT pg_advisory_lock(%s::int, hashtext(%s))"
AWAITED = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND classid = %s"
)


@pytest.fixture
def link() -> Iterator[Connection]:
    with connect(name="test clock") as connection:
        yield connection


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a clock does each second or two it does at once."""
    monkeypatch.setattr(running, "LOCK_EVERY_S", 0.05)
    monkeypatch.setattr(running, "NOTE_EVERY_S", 0.05)


@contextmanager
def at_work(*todo: Lane) -> Iterator[Clock]:
    """A clock, until the end of the block."""
    made = Clock(todo)
    thread = threading.Thread(target=made.run, name="a clock")
    thread.start()
    try:
        yield made
    finally:
        made.stop()
        thread.join()


def until(condition: Callable[[], object], within_s: float = 60.0) -> None:
    """Wait until it is so."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


class Done:
    """How often each duty was done; `duty` makes one that asks the database and counts."""

    def __init__(self) -> None:
        self.times: Counter[str] = Counter()

    def duty(self, name: str, then: Callable[[Connection], object] = lambda _: None) -> Duty:
        def act(connection: Connection) -> int:
            connection.execute("SELECT 1")
            self.times[name] += 1
            then(connection)
            return 1

        return Duty(name, 0.01, act)

    def goes_on(self, name: str) -> None:
        """Wait until it has been done a few times more."""
        now = self.times[name]
        until(lambda: self.times[name] > now + 2)


def told(name: str) -> str | None:
    """The error that is written down of a duty; None: it was never done."""
    return DutyRow.objects.filter(name=name).values_list("error", flat=True).first()


def test_urgent_duties_share_no_thread_with_others_nor_quick_ones_with_slow_ones() -> None:
    made = lanes(conf())
    names = [duty.name for lane in made for duty in lane.duties]
    assert len(set(names)) == len(names)
    assert set(names) > URGENT
    for lane in made:
        mates = {duty.name for duty in lane.duties}
        assert not mates & URGENT or mates <= URGENT, lane.name
        intervals = [duty.interval_s for duty in lane.duties]
        assert max(intervals) < SLOW_S or min(intervals) >= 2.0, lane.name
        assert "watch" not in mates or not mates & {"evaluate", "notify"}, lane.name


@pytest.mark.usefixtures("quick")
def test_a_duty_that_fails_stops_no_other_and_is_begun_again() -> None:
    done = Done()
    whole = threading.Event()

    def fail(connection: Connection) -> None:
        if not whole.is_set():
            connection.execute("BEGIN")
            raise ValueError("not today")

    def hang(connection: Connection) -> None:
        if not whole.is_set():
            connection.execute("SELECT pg_sleep(600)")

    bad, stuck, good = done.duty("bad", fail), done.duty("stuck", hang), done.duty("good")
    with at_work(Lane("mixed", (bad, stuck, good), limit_s=0.1)):
        until(lambda: told("bad") == "ValueError: not today")
        until(lambda: (told("stuck") or "").startswith("QueryCanceled: "))
        done.goes_on("good")
        assert told("good") == ""
        whole.set()
        until(lambda: told("bad") == told("stuck") == "")
    row = DutyRow.objects.get(name="good")
    assert 0 < row.tick_count == row.changed_count <= done.times["good"]


@pytest.mark.usefixtures("quick")
def test_a_duty_that_takes_long_holds_up_its_own_lane_only() -> None:
    done = Done()
    go = threading.Event()
    slow = done.duty("slow", lambda _: go.wait(60))
    with at_work(Lane("one", (slow, done.duty("mate"))), Lane("other", (done.duty("quick"),))):
        until(lambda: done.times["slow"])
        mates = done.times["mate"]
        done.goes_on("quick")
        assert done.times["mate"] == mates
        go.set()
        done.goes_on("mate")
        done.goes_on("slow")


@pytest.mark.usefixtures("quick")
def test_a_duty_is_done_by_whoever_holds_its_lock_and_lost_with_the_connection(
    link: Connection,
) -> None:
    done = Done()
    with at_work(Lane("test", (done.duty("wanted"), done.duty("mate")))):
        done.goes_on("wanted")
        assert clock.lock_duties(link, ["wanted", "mate"]) == set()
        # who waits in line for a lock has it before any clock is back to try for it
        wait = threading.Thread(target=link.execute, args=(AWAIT, (clock.LOCK_SPACE, "wanted")))
        wait.start()
        with connect(name="test watcher") as watcher:
            until(lambda: watcher.execute(AWAITED, (clock.LOCK_SPACE,)).fetchone() == (1,))
            watcher.execute(END, ("millrace clock test",))
        wait.join()
        done.goes_on("mate")
        before = done.times["wanted"]
        done.goes_on("mate")
        assert done.times["wanted"] == before, "it is another clock's"
        clock.unlock_duty(link, "wanted")
        done.goes_on("wanted")
    # the server gives a session's locks up a moment after its client has gone
    until(lambda: clock.lock_duties(link, ["wanted"]))
    until(lambda: clock.lock_duties(link, ["mate"]))


def test_all_of_it_holds_few_connections(link: Connection) -> None:
    """Every duty is done, those that use Django's connections and the look at health too."""
    todo = lanes(conf())
    names = {duty.name for lane in todo for duty in lane.duties}
    assert not DutyRow.objects.exists()
    own = {row[0] for row in link.execute(HELD)}  # with what Django has just opened for this thread
    peak: set[int] = set()

    def held() -> set[int]:
        return {row[0] for row in link.execute(HELD)} - own

    def all_done() -> bool:
        nonlocal peak
        peak = max(peak, held(), key=len)
        return set(DutyRow.objects.values_list("name", flat=True)) >= names

    health.refresh()
    try:
        with at_work(*todo):
            health.look()  # over the two connections that the duty's look would use
            until(all_done)
            assert len(todo) + 2 <= len(peak) <= MOST_CONNECTIONS
            until(lambda: len(held()) == len(todo) + 2)
    finally:
        health.refresh()
        for lane in todo:
            for duty in lane.duties:
                if isinstance(duty.act, Publisher):
                    duty.act._runner.close()
    assert dict(DutyRow.objects.exclude(error="").values_list("name", "error")) == {}
