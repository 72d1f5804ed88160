"""`manage.py quota_set`: limits on the command line."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tenants.actors import COMMAND
from tenants.models import Quota, QuotaOverride
from tenants.services import create_tenant

pytestmark = pytest.mark.django_db


def put(*arguments: str, **options: str) -> str:
    out = StringIO()
    call_command("quota_set", *arguments, stdout=out, **options)
    return out.getvalue()


def test_limits_for_good_and_for_a_time() -> None:
    create_tenant(slug="acme", actor=COMMAND)
    assert put("acme", "max_active_runs=5", "weight=2.5") == "max_active_runs: 5\nweight: 2.5\n"
    put("acme", "max_active_runs=none", until="2h", reason="sale")
    quota, override = Quota.objects.get(), QuotaOverride.objects.get()
    assert (quota.max_active_runs, quota.weight) == (None, 2.5)
    assert (override.base, override.reason) == (5, "sale")


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (["none", "weight=1"], {}, "no tenant none"),
        (["acme", "weight"], {}, "NAME=VALUE"),
        (["acme", "wait=1"], {}, "NAME=VALUE"),
        (["acme", "weight=much"], {}, "'much' is no number"),
        (["acme", "weight=0"], {}, "weight"),
        (["acme", "max_steps=none"], {}, "max_steps"),
        (["acme", "weight=2"], {"until": "soon"}, "until"),
        (["acme", "weight=2"], {"until": "2001-01-01T00:00:00Z"}, "past"),
    ],
)
def test_nonsense_is_refused(arguments: list[str], options: dict[str, str], said: str) -> None:
    create_tenant(slug="acme", actor=COMMAND)
    with pytest.raises(CommandError, match=said):
        put(*arguments, **options)
    assert Quota.objects.get().weight == 1.0
