"""`python -m tests.health.asking COUNT [scrape]`: a web process that is asked so often, and scraped at last.

It needs no database: what is asked is whether it lives."""

from __future__ import annotations

import sys


def main(count: int, *, scrape: bool) -> None:
    """Ask; print what Prometheus reads."""
    import django

    django.setup()
    from django.test import Client
    from django.test.utils import setup_test_environment

    setup_test_environment()
    client = Client()
    for _ in range(count):
        assert client.get("/health/live").status_code == 200
    if scrape:
        sys.stdout.write(client.get("/metrics").content.decode())


if __name__ == "__main__":
    main(int(sys.argv[1]), scrape="scrape" in sys.argv)
