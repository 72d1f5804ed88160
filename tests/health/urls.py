"""The root paths alone."""

from __future__ import annotations

from orchestrator.api.health import urlpatterns

__all__ = ["urlpatterns"]
