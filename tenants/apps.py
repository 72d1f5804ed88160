from django.apps import AppConfig

from tenants.fence.rules import ALL, Rules
from tenants.fence.standing import WORKER


class TenantsConfig(AppConfig):
    name = "tenants"
    default_auto_field = "django.db.models.AutoField"
    fence = Rules(
        requests={
            "tenant": "SELECT, UPDATE (id)",  # by which it is locked; the policy lets it be nothing else
            "quota": "SELECT, UPDATE (updated_at)",  # by which it is locked
            "quota_change": "SELECT",
            "quota_override": "SELECT",
            "audit_entry": "SELECT, INSERT",
            # Django's own, which belong to people and not to tenants
            "auth_user": ALL,
            "django_session": ALL,
            "session": ALL,
            "identity": ALL,
            "totp": ALL,
            "recovery_code": ALL,
            "axes_accessattempt": ALL,
            "axes_accessattemptexpiration": ALL,
            "axes_accessfailurelog": ALL,
            "axes_accesslog": ALL,
        },
        all={"audit_entry": "SELECT, INSERT"},
        functions={"audit_forget(int, int)": (WORKER,)},
    )

    def ready(self) -> None:
        from django.db.models.signals import post_migrate

        from tenants.connections.install import install_functions
        from tenants.services.databases import settle_all

        post_migrate.connect(install_functions, sender=self)
        post_migrate.connect(settle_all, sender=self)
