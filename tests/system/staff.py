"""What staff do in the admin, over HTTP: sign in, change limits, suspend, resume."""

from __future__ import annotations

import re
from datetime import datetime
from html import unescape

import httpx

from tests.system.running_system import System, TestTenant


class Staff:
    """The operator that `up` printed, signed in to the admin.

    Each change answers the moment at which it was made, by the database's clock."""

    def __init__(self, system: System) -> None:
        self.system = system
        self._http = httpx.Client(base_url=system.url, timeout=30)
        self._post(
            "/login",
            {"username": system.credentials["user"], "password": system.credentials["password"]},
        )

    def __enter__(self) -> Staff:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def change(self, tenant: TestTenant, **limits: object) -> datetime:
        """Save the tenant's form with these limits changed."""
        page = f"/admin/tenants/tenant/{tenant.id}/change/"
        form = self._http.get(page).text
        fields = {name: _value(form, name) for name in _FIELDS}
        self._post(page, {**fields, **{name: str(value) for name, value in limits.items()}})
        return self._made(tenant, "quota.set")

    def suspend(self, tenant: TestTenant) -> datetime:
        """Suspend the tenant by the list's action."""
        return self._act(tenant, "suspend", "tenant.suspended")

    def resume(self, tenant: TestTenant) -> datetime:
        """Lift the suspension by the list's action."""
        return self._act(tenant, "resume", "tenant.resumed")

    def _act(self, tenant: TestTenant, action: str, entry: str) -> datetime:
        chosen = {"action": action, "_selected_action": str(tenant.id), "reason": "a test"}
        self._post("/admin/tenants/tenant/", {**chosen, "index": "0"})
        return self._made(tenant, entry)

    def _post(self, page: str, fields: dict[str, str]) -> None:
        token = _value(self._http.get(page).text, "csrfmiddlewaretoken")
        answer = self._http.post(
            page,
            data={**fields, "csrfmiddlewaretoken": token},
            headers={"Referer": f"{self.system.url}{page}"},
        )
        assert answer.status_code == 302, f"{page} was not accepted: {answer.status_code}"

    def _made(self, tenant: TestTenant, action: str) -> datetime:
        rows = self.system.sql(
            "SELECT at FROM audit_entry WHERE tenant_id = %s AND action = %s ORDER BY id DESC LIMIT 1",
            tenant.id, action,
        )  # fmt: skip
        assert rows, f"{action} was not audited"
        at: datetime = rows[0][0]
        return at


_FIELDS = ("name", "max_connections", "weight", "max_steps", "max_payload_bytes")


def _value(form: str, name: str) -> str:
    """What an input of a form holds."""
    found = re.search(rf'<input[^>]*name="{name}"[^>]*>', form)
    assert found is not None, f"the form has no {name}"
    value = re.search(r'value="([^"]*)"', found[0])
    return unescape(value[1]) if value else ""
