"""Each finding of the doctor is made for real: a lock that is waited for, a snapshot that is kept, dead
rows, air, a count that is wrong, partitions that are gone, keys that do not open; and mended where it may."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone

from orchestrator import dispatch, store
from orchestrator.domain.health import CHECKS, Check, State
from orchestrator.embedded import paths
from orchestrator.models import (
    DatabaseSize,
    Duty,
    Handler,
    ServerLoad,
    SlaCursor,
    StepRun,
    TenantLoad,
    Worker,
)
from orchestrator.selectors import diagnosis, health
from orchestrator.selectors.diagnosis import deep
from orchestrator.services import fixing, rollups
from orchestrator.services.health import Diagnosis
from orchestrator.store import diagnosis as looks
from tenants.actors import COMMAND
from tenants.connections import roles
from tenants.models import AuditEntry, Quota
from tests.stats.conftest import Shop, open_shop, shop

__all__ = ["open_shop", "shop"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    health.refresh()
    yield
    health.refresh()


def found(name: str) -> Check:
    """What the deeper look says of a part."""
    if name in diagnosis.UPKEEP:
        return diagnosis.UPKEEP[name]()
    with store.connect(name="test look") as connection:
        return diagnosis.DEEP[name](connection)


@contextmanager
def transaction(statement: str) -> Iterator[store.Connection]:
    """A transaction of somebody else, open after this statement."""
    with store.connect(name="forgetful") as other:
        other.autocommit = False
        other.execute(statement)
        yield other
        other.rollback()


def test_all_is_well_and_everything_is_looked_at() -> None:
    store.connection().execute("SELECT engine_event_partitions(3), engine_log_partitions(3)")
    Duty.objects.create(name="due", interval_ms=100, ticked_at=timezone.now())
    Worker.objects.create(name="w", host="h", pid=1, queues=["io", "cpu"])
    seen = diagnosis.diagnose()
    deep_names = ["migrations", *diagnosis.DEEP, *diagnosis.UPKEEP]
    assert [one.name for one in seen] == [*CHECKS, *deep_names]
    wrong = [one for one in seen if one.state is not State.OK and one.name != "disk"]
    # tests' servers do not wait for the disk; on an untouched database every role may lock
    assert {one.name for one in wrong} <= {"settings", "roles"}, wrong


def test_a_lock_that_is_waited_for_is_named_with_its_holder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deep, "LOCK_S", 0.05)
    Handler.objects.create(name="h")
    with transaction("UPDATE handler SET queue = 'held'") as holder:
        waiting = store.connect(name="patient")

        def wait() -> None:
            with waiting:
                waiting.execute("UPDATE handler SET queue = 'wanted'")

        thread = threading.Thread(target=wait)
        thread.start()
        check = until("locks", State.DEGRADED)
        pid = holder.info.backend_pid
        assert f"({pid}, idle in transaction" in check.detail
        assert "millrace patient" in check.detail
        assert check.mend.endswith(f"SELECT pg_terminate_backend({pid});")
        monkeypatch.setattr(deep, "LONG_LOCK_S", 0.05)
        assert found("locks").state is State.DOWN
    thread.join()
    monkeypatch.setattr(deep, "LOCK_S", 5.0)
    assert found("locks").state is State.OK


def until(name: str, state: State) -> Check:
    """The finding once it is in this state."""
    check = found(name)
    for _ in range(1000):
        if check.state is state:
            break
        check = found(name)
    assert check.state is state, check
    return check


def test_what_keeps_old_rows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep, "OLD_S", -1.0)
    with transaction("SELECT pg_current_xact_id()") as forgotten:
        check = found("snapshots")
        assert check.state is State.DEGRADED
        pid = forgotten.info.backend_pid
        assert f"process {pid} (millrace forgetful, idle in transaction" in check.detail
        assert f"pg_terminate_backend({pid})" in check.mend
    monkeypatch.setattr(deep, "OLD_S", 300.0)
    assert found("snapshots").state is State.OK
    slot = looks.Snapshot("slot", "copy", "nobody uses it", None, 2_000_000)
    prepared = looks.Snapshot("prepared", "two", "millrace", 1000.0, 5)
    monkeypatch.setattr(looks, "snapshots", lambda _: [slot, prepared])
    check = found("snapshots")
    assert "the replication slot copy (nobody uses it, 2000000 transactions behind)" in check.detail
    assert "pg_drop_replication_slot('copy')" in check.mend
    assert "ROLLBACK PREPARED 'two'" in check.mend


def test_rows_that_are_not_removed_are_counted_and_vacuumed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deep, "DEAD_ROWS", 1000)
    monkeypatch.setattr(deep, "VACUUM_S", 0.0)
    Handler.objects.bulk_create(Handler(name=f"h{nr}") for nr in range(3000))
    owner = store.connection()
    owner.execute("ALTER TABLE handler SET (autovacuum_enabled = false)")
    try:
        owner.execute("UPDATE handler SET queue = 'x'")
        owner.execute("DELETE FROM handler")
        owner.execute("SELECT pg_stat_force_next_flush()")
        check = until("vacuum", State.DEGRADED)
        assert "handler " in check.detail
        assert "autovacuum is off for it" in check.detail
        done = fixing.fix(found=[check], actor=COMMAND)
        assert done
        assert done[0].startswith("vacuumed: ")
        assert "handler" in done[0]
        assert "handler" not in until_vacuumed()
    finally:
        owner.execute("ALTER TABLE handler RESET (autovacuum_enabled)")


def until_vacuumed() -> str:
    said = found("vacuum").detail
    for _ in range(1000):
        if "handler" not in said:
            break
        said = found("vacuum").detail
    return said


def test_air_in_tables_and_indexes(monkeypatch: pytest.MonkeyPatch) -> None:
    # So many rows that other tables' air, left by other tests, stands behind this one's.
    monkeypatch.setattr(deep, "AIR_BYTES", 2_000_000)
    owner = store.connection()
    owner.execute("CREATE TABLE airy (id int PRIMARY KEY, words text)")
    try:
        owner.execute(
            "INSERT INTO airy SELECT n, repeat('x', 200) FROM generate_series(1, 200000) n"
        )
        owner.execute("DELETE FROM airy WHERE id % 20 <> 0")
        owner.execute("VACUUM ANALYZE airy")
        check = found("bloat")
        assert check.state is State.DEGRADED
        assert "table airy" in check.detail
        assert "VACUUM FULL airy;" in check.mend
        assert "locks its table" in check.mend
        assert "REINDEX INDEX CONCURRENTLY airy_pkey;" in check.mend
        owner.execute("VACUUM FULL airy")
        owner.execute("ANALYZE airy")
        assert "airy" not in found("bloat").detail
    finally:
        owner.execute("DROP TABLE airy")


def test_growth_and_a_disk_that_fills(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "grows" not in found("size").detail
    DatabaseSize.objects.create(at=timezone.now() - timedelta(days=1), bytes=1000)
    assert "a day" in found("size").detail
    monkeypatch.setattr(deep, "FULL_IN_DAYS", 1e12)
    monkeypatch.setattr(paths, "uses_embedded_database", lambda: True)
    check = found("size")
    assert check.state is State.DEGRADED
    assert "The disk is full in" in check.detail


def test_a_leaked_connection_is_found_mended_and_told(shop: Shop) -> None:
    ServerLoad.objects.all().delete()
    ServerLoad.objects.bulk_create(ServerLoad(slot=slot) for slot in range(-1, 16))
    shop.submit(2)
    shop.claim(1)
    assert found("slots").state is State.OK
    TenantLoad.objects.update(in_use=4)
    check = found("slots")
    assert check.state is State.DEGRADED
    assert "Acme counts 4 and holds 1" in check.detail
    assert "the server counts 1 and holds 4" in check.detail
    assert fixing.fix(found=[check], actor=COMMAND) == ["1 counts of connections were mended"]
    assert found("slots").state is State.OK
    entry = AuditEntry.objects.get(action="server.fixed")
    assert (entry.tenant, entry.target, entry.actor) == (None, "slots", "command")
    Duty.objects.create(name="reconcile", interval_ms=1, changed_count=3)
    assert "has mended 3 counts so far (0 is expected)" in found("slots").detail


def test_partitions_that_are_missing_or_overdue() -> None:
    owner = store.connection()
    today = f"event_{timezone.now():%Y%m%d}"
    owner.execute("SELECT engine_event_partitions(3), engine_log_partitions(3)")
    assert found("partitions").state is State.OK
    owner.execute(f"DROP TABLE attempt_log_{timezone.now():%Y%m%d}")
    check = found("partitions")
    assert check.detail.startswith("No partition of log lines for ")
    assert fixing.fix(found=[check], actor=COMMAND) == ["1 partitions of log lines were made"]
    owner.execute(f"DROP TABLE {today}")
    check = found("partitions")
    assert check.state is State.DEGRADED
    assert today.removeprefix("event_") in check.detail
    assert fixing.fix(found=[check], actor=COMMAND) == ["1 partitions of events were made"]
    owner.execute(
        "CREATE TABLE event_20200101 PARTITION OF event FOR VALUES FROM ('2020-01-01') TO ('2020-01-02')"
    )
    assert "event_20200101 is older" in found("partitions").detail
    owner.execute("DROP TABLE event_20200101")


def test_roles_that_are_missing_are_made(shop: Shop) -> None:
    roles.drop(tenant_id=shop.tenant.pk)
    check = found("roles")
    assert check.state is State.DEGRADED
    assert "acme" in check.detail
    assert fixing.fix(found=[check], actor=COMMAND) == ["roles and schemas were mended of acme"]
    assert "acme" not in found("roles").detail


def test_roles_that_may_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "exposed", lambda: ["do everything"])
    assert "may do everything" in found("roles").detail
    monkeypatch.setattr(roles, "exposed", list)
    assert found("roles").state is State.OK


def test_keys_that_do_not_open_what_is_sealed(shop: Shop) -> None:
    assert found("keys").state is State.OK
    with override_settings(SECRET_KEY="another", SECRET_KEY_FALLBACKS=[]):
        check = found("keys")
    assert check.state is State.DOWN
    assert "1 of tenant database password" in check.detail
    assert "SECRET_KEY_FALLBACKS" in check.mend


def test_settings_that_lose_data(monkeypatch: pytest.MonkeyPatch) -> None:
    good = dict.fromkeys(
        ("fsync", "full_page_writes", "synchronous_commit", "autovacuum", "track_counts"), "on"
    )
    good["server_version_num"] = "160001"
    monkeypatch.setattr(looks, "settings", lambda _: good)
    assert found("settings").state is State.OK
    bad = {**good, "autovacuum": "off", "server_version_num": "140000"}
    monkeypatch.setattr(looks, "settings", lambda _: bad)
    assert found("settings").detail == "autovacuum is off; it is older than PostgreSQL 15."


def test_quotas_that_are_nearly_used_up_make_nobody_ill(shop: Shop) -> None:
    assert found("quotas").detail == "None is used to 90%."
    Quota.objects.update(max_active_runs=10)
    TenantLoad.objects.update_or_create(tenant_id=shop.tenant.pk, defaults={"active_runs": 9})
    check = found("quotas")
    assert (check.state, check.detail) == (
        State.OK, "Nearly used up: acme max_active_runs 9 of 10.",
    )  # fmt: skip


def test_a_look_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(connection: Any) -> Check:
        connection.execute("SELECT pg_sleep(30)")
        raise AssertionError

    def refuse(connection: Any) -> Check:
        connection.execute("SELECT nonsense")
        raise AssertionError

    monkeypatch.setattr(diagnosis, "LIMIT_S", 0.2)
    monkeypatch.setitem(diagnosis.DEEP, "locks", hang)
    monkeypatch.setitem(diagnosis.DEEP, "size", refuse)
    seen = {check.name: check for check in diagnosis.deep_look()}
    assert seen["locks"].detail == "Looking took over 0 s."
    assert "could not be looked at" in seen["size"].detail
    assert seen["slots"].state is State.OK


def test_ready_work_that_is_unserved_is_no_fault_of_the_server(shop: Shop) -> None:
    Duty.objects.create(name="due", interval_ms=100, ticked_at=timezone.now())
    shop.submit(2)
    StepRun.objects.update(parked="no_worker")
    seen = {check.name: check for check in health.look()}
    assert seen["workers"].state is State.OK
    assert seen["handlers"].state is State.DEGRADED
    assert "2 of demo.square in queue io (acme)" in seen["handlers"].detail


def test_work_that_nobody_claims_says_why_and_is_woken(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken: list[str] = []
    monkeypatch.setattr(dispatch, "wake", woken.extend)
    shop.submit(1)
    StepRun.objects.update(ready_at=timezone.now() - timedelta(seconds=20))
    check = {one.name: one for one in health.look()}["backlog"]
    assert check.state is State.DEGRADED
    assert "1 workers are there, with 0 steps in flight" in check.detail
    fixing.fix(found=[check], actor=COMMAND)
    assert woken == ["io"]
    Worker.objects.update(state="draining")
    health.refresh()
    assert "all 1 workers are draining" in {o.name: o for o in health.look()}["backlog"].detail
    Worker.objects.update(seen_at=timezone.now() - timedelta(minutes=5))
    StepRun.objects.update(ready_at=timezone.now() - timedelta(seconds=90))
    check = {o.name: o for o in health.look()}["backlog"]
    assert check.state is State.DOWN
    assert "no worker is alive" in check.detail


def test_events_that_are_not_counted(shop: Shop) -> None:
    shop.tell(timezone.now() - timedelta(seconds=40), [("run.queued", None)] * 3)
    check = {one.name: one for one in health.look()}["events"]
    assert check.state is State.DEGRADED
    assert check.detail.startswith("3 events not counted yet, the oldest 4")
    while rollups.roll():
        pass
    assert {one.name: one for one in health.look()}["events"].state is State.OK
    SlaCursor.objects.create(tenant_id=shop.tenant.pk, seq=0)
    health.refresh()
    check = {one.name: one for one in health.look()}["events"]
    assert check.state is State.DEGRADED
    assert "SLAs are 4" in check.detail
    assert "sla_count" in check.mend


def test_the_duty_writes_down_what_it_found() -> None:
    from orchestrator.models import HealthState

    duty = Diagnosis(start_s=0)
    with store.connect(name="test clock") as connection:
        assert Diagnosis()(connection) == 0  # the clock's other duties come first
        assert duty(connection) == 1 + len(diagnosis.DEEP) + len(diagnosis.UPKEEP)
        assert duty(connection) == 0
    assert DatabaseSize.objects.count() == 1
    assert set(HealthState.objects.filter(deep=True).values_list("name", flat=True)) == {
        "migrations", *diagnosis.DEEP, *diagnosis.UPKEEP,
    }  # fmt: skip
