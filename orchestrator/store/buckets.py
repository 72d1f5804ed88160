"""Payloads as objects of an S3 bucket; installed with `requirements/install s3`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from botocore.config import Config
from botocore.exceptions import ConnectionError as NotConnected
from botocore.exceptions import HTTPClientError
from storages.backends.s3 import S3Storage

CONNECT_S = 2.0
READ_S = 10.0
TRIES = 2
REST_S = 5.0
"""How long an endpoint that did not answer is left alone, so that a batch waits for it once."""


class Resting(OSError):
    """The endpoint has not answered just now."""


class Bucket(S3Storage):
    """A bucket whose answers are waited for seconds, not minutes; keys, region and endpoint are those
    that boto3 finds in the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL_S3` and so on)."""

    _asked_again_at = 0.0

    def get_default_settings(self) -> dict[str, Any]:
        """Those of django-storages, with bounds."""
        config = Config(
            connect_timeout=CONNECT_S,
            read_timeout=READ_S,
            retries={"total_max_attempts": TRIES, "mode": "standard"},
        )
        return {**super().get_default_settings(), "client_config": config}

    def _open(self, name: str, mode: str = "rb") -> Any:
        with self._asking():
            return super()._open(name, mode)

    def _save(self, name: str, content: IO[bytes]) -> Any:
        with self._asking():
            return super()._save(name, content)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        if time.monotonic() < self._asked_again_at:
            raise Resting(f"the endpoint did not answer within the last {REST_S:g} s")
        try:
            yield
        except (NotConnected, HTTPClientError):
            self._asked_again_at = time.monotonic() + REST_S
            raise
