"""Several web processes count together where they are given a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
ASKED = "django_http_requests_before_middlewares"


def asked(scraped: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(scraped)
        for sample in family.samples
        if sample.name == f"{ASKED}_total"
    )


def test_requests_of_two_processes(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if "PROMETHEUS" not in key}
    env |= {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "DATABASE_POOL": "0"}
    env["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path)
    command = [sys.executable, "-m", "tests.health.asking"]
    with subprocess.Popen([*command, "5"], cwd=ROOT, env=env) as other:
        assert other.wait(120) == 0
    scraped = subprocess.run(
        [*command, "3", "scrape"], cwd=ROOT, env=env, check=True, capture_output=True, text=True
    ).stdout
    assert asked(scraped) == 5 + 3 + 1  # and the scrape itself
    assert "millrace_up 0.0" in scraped
    assert scraped.count(f"# TYPE {ASKED}_total counter") == 1
