"""Payloads as files: what was said to be kept is on the disk."""

from __future__ import annotations

import os
from typing import IO, Any

from django.core.files.storage import FileSystemStorage


class DurableFiles(FileSystemStorage):
    """Files that are written through to the disk before anything refers to them."""

    def _save(self, name: str, content: IO[Any]) -> str:
        saved: str = super()._save(name, content)  # type: ignore[misc]  # not in its stubs
        path = self.path(saved)
        for place in (path, os.path.dirname(path)):
            descriptor = os.open(place, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return saved
