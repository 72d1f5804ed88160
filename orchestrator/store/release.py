"""Giving this thread's connection back before its request ends: while a client waits, or streams."""

from __future__ import annotations

from django.db import connections


def release() -> None:
    """Give Django's connection back to the pool (or close it), unless a transaction is open."""
    wrapper = connections["default"]
    if wrapper.connection is not None and not wrapper.in_atomic_block:
        wrapper.close()
