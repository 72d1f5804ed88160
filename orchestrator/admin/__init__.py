"""The admin: limits to be set, and what the engine owns to be looked at."""

from orchestrator.admin import engine, pools, server, tenants

__all__ = ["engine", "pools", "server", "tenants"]
