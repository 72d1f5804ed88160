"""Static files: whole answers, of which Django under ASGI complains not, and parts on request."""

from __future__ import annotations

import pytest
from django.test import AsyncClient

pytestmark = pytest.mark.django_db
"""At its end a request looks after the connections that earlier tests have left in its thread."""


async def test_a_static_file_is_answered_whole(async_client: AsyncClient) -> None:
    answer = await async_client.get("/static/css/tokens.css")
    assert answer.status_code == 200
    assert not answer.streaming
    assert answer["Content-Type"].startswith("text/css")
    assert int(answer["Content-Length"]) == len(answer.content)
    again = await async_client.get(
        "/static/css/tokens.css", headers={"If-Modified-Since": answer["Last-Modified"]}
    )
    assert (again.status_code, again.content) == (304, b"")


async def test_a_part_of_a_static_file_is_answered(async_client: AsyncClient) -> None:
    answer = await async_client.get("/static/css/tokens.css", headers={"Range": "bytes=0-2"})
    assert (answer.status_code, answer.content) == (206, b"/* ")
