from __future__ import annotations

import json
import re

import pytest
from django.conf import settings

from tests.api.client import Api

pytestmark = pytest.mark.django_db


def test_document_and_docs_need_no_key_and_no_foreign_host() -> None:
    anyone = Api(None)
    served = anyone.get("/openapi.json")
    assert served.body == json.loads((settings.BASE_DIR / "docs" / "openapi.json").read_text())
    page = anyone.get("/docs")
    assert page.status == 200
    assert "/api/v1/openapi.json" in page.text
    for address in re.findall(r"""(?:src|href)=["']([^"']+)""", page.text):
        assert address.startswith("/static/"), address
    assert "'self'" in page.headers["Content-Security-Policy"]


def test_document_describes_every_answer() -> None:
    paths = Api(None).get("/openapi.json").body["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert {"401", "403"} <= set(operation["responses"]) or path.endswith("/stats")
