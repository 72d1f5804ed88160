"""What is marked on a window's charts: new versions, limits that changed and alerts that fired, of this
tenant alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from orchestrator.models import Alert, Workflow, WorkflowVersion
from orchestrator.selectors.annotations import list_annotations
from orchestrator.services import limits
from tenants.actors import COMMAND
from tenants.models import QuotaChange
from tests.alerts.planted import Planted
from tests.stats.conftest import Shop


def publish(shop: Shop, workflow: Workflow, version: int, at: datetime) -> None:
    made = WorkflowVersion.objects.create(
        tenant=shop.tenant, workflow=workflow, version=version, checksum=str(version), document="{}",
        timeout_ms=1000, step_count=1, leaves=[0],
    )  # fmt: skip
    WorkflowVersion.objects.filter(pk=made.pk).update(created_at=at)


def test_versions_and_limits_in_their_order(
    shop: Shop, open_shop: Callable[[str], Shop], noon: datetime
) -> None:
    stranger = open_shop("stranger")
    WorkflowVersion.objects.update(created_at=noon)  # first versions are no change
    minute = timedelta(minutes=1)
    for one in (shop, stranger):
        publish(one, one.workflow, 2, noon + minute)
        limits.change_quota(tenant=one.tenant, actor=COMMAND, max_active_runs=1200, reason="r")
        QuotaChange.objects.filter(tenant=one.tenant).update(at=noon + 2 * minute)
        publish(one, one.workflow, 3, noon + 3 * minute)
    other = Workflow.objects.create(tenant=shop.tenant, name="cubes", newest=2)
    publish(shop, other, 2, noon + 4 * minute)

    def texts(**asked: object) -> list[str]:
        window = {"since": noon, "until": noon + timedelta(hours=1)} | asked
        return [one.text for one in list_annotations(tenant=shop.tenant, **window)]  # type: ignore[arg-type]

    limit = "max_active_runs from no limit to 1,200"
    assert texts() == ["version 2 of squares", limit, "version 3 of squares", "version 2 of cubes"]
    assert texts(workflow="cubes") == [limit, "version 2 of cubes"]
    assert texts(limit=2) == ["version 3 of squares", "version 2 of cubes"]
    assert texts(since=noon + 2 * minute, until=noon + 3 * minute) == [limit]
    assert texts(until=noon) == []
    kinds = {
        one.kind
        for one in list_annotations(tenant=shop.tenant, since=noon, until=noon + 3 * minute)
    }
    assert kinds == {"version", "quota"}


def test_alerts_that_fired(shop: Shop, open_shop: Callable[[str], Shop], noon: datetime) -> None:
    stranger = open_shop("stranger")
    minute = timedelta(minutes=1)
    WorkflowVersion.objects.update(created_at=noon - minute)

    def plant(tenant_id: int | None, name: str, workflow: str = "", for_s: float = 0.0) -> Planted:
        labels = {"workflow": workflow} if workflow else {}
        return Planted(tenant_id, f"sla:{name}", labels, name=name, for_s=for_s)

    plant(shop.tenant.pk, "squares are quick", "squares").bad(noon)
    slow = plant(shop.tenant.pk, "all succeed", for_s=60.0)
    slow.bad(noon - 2 * minute)
    slow.bad(noon + minute)
    plant(shop.tenant.pk, "cubes are quick", "cubes").bad(noon + 2 * minute)
    plant(shop.tenant.pk, "it is pending", for_s=600.0).bad(noon + minute)
    plant(stranger.tenant.pk, "not ours").bad(noon + minute)
    plant(None, "the server's").bad(noon + minute)

    def notes(**asked: object) -> list[str]:
        window = {"since": noon, "until": noon + timedelta(hours=1)} | asked
        found = list_annotations(tenant=shop.tenant, **window)  # type: ignore[arg-type]
        assert {one.kind for one in found} <= {"alert"}
        known = {str(one.pk): f"{one.name} fired" for one in Alert.objects.all()}
        assert [known[one.about] for one in found] == [one.text for one in found]
        return [one.text for one in found]

    quick, all_, cubes = "squares are quick fired", "all succeed fired", "cubes are quick fired"
    assert notes() == [quick, all_, cubes]
    assert notes(workflow="cubes") == [all_, cubes]
    assert notes(limit=2) == [all_, cubes]
    assert notes(since=noon + minute, until=noon + 2 * minute) == [all_]
    assert notes(until=noon) == []
