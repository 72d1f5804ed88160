"""Handlers that every server has: `core.*` for building, `demo.*` for the examples."""

from orchestrator.builtin_handlers import core, demo, http, sql

__all__ = ["core", "demo", "http", "sql"]
