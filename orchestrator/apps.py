from django.apps import AppConfig

from tenants.fence.rules import Rules
from tenants.fence.standing import APP, STAFF, WORKER


class OrchestratorConfig(AppConfig):
    name = "orchestrator"
    default_auto_field = "django.db.models.BigAutoField"
    fence = Rules(
        requests={
            "attempt_log": "SELECT",
            "duty": "SELECT",
            "handler": "SELECT, INSERT, UPDATE",
            "health_change": "SELECT (name, state, at)",  # the details name other tenants
            "health_state": "SELECT (name, deep, state, since, seen_at)",
            "run_label": "SELECT",
            "server_load": "SELECT, UPDATE",
            "storage": "SELECT",
            "stored_object": "SELECT, INSERT, UPDATE",
            "trace_cursor": "SELECT",
            "usage": "SELECT",
            "worker": "SELECT",
        },
        all={"run_label": "SELECT"},
        functions={
            "engine_event_partitions(int)": (WORKER,),
            "engine_drop_event_partitions(int)": (WORKER,),
            "engine_log_ids(int)": (WORKER,),
            "engine_log_partitions(int)": (WORKER,),
            "engine_drop_log_partitions(int)": (WORKER,),
            "engine_pool_give(int[])": (APP, WORKER, STAFF),
            "engine_pool_lock(int[])": (APP, WORKER, STAFF),
        },
    )

    def ready(self) -> None:
        from django.db.models.signals import post_migrate

        from orchestrator import celery, checks  # noqa: F401  (the Celery app becomes current; checks register)
        from orchestrator.store.functions import install_functions
        from tenants.connections.install import guard_functions
        from tenants.fence.install import install_fence

        post_migrate.connect(install_functions, sender=self)
        post_migrate.connect(install_fence, sender=self)  # after it: functions have roles too
        post_migrate.connect(guard_functions, sender=self)  # after it: to whom functions are given
