from django.apps import AppConfig


class OrchestratorConfig(AppConfig):
    name = "orchestrator"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.db.models.signals import post_migrate

        from orchestrator import celery, checks  # noqa: F401  (the Celery app becomes current; checks register)
        from orchestrator.store.functions import install_functions

        post_migrate.connect(install_functions, sender=self)
