"""The addresses of the live pages' sockets: each page's own, below `/ws`."""

from __future__ import annotations

from django.urls import URLPattern, path

from dashboard.live.consumer import LiveConsumer
from dashboard.pages import PAGES

_socket = LiveConsumer.as_asgi()

websocket_urlpatterns: list[URLPattern] = [
    # of any name, so that one that is none is refused as a stranger is
    path("ws/t/<slug:slug>/<slug:page>", _socket),
    *(
        path(
            f"ws/t/<slug:slug>/{page.name}/<str:{page.argument}>",
            _socket,
            {"page": page.name},
        )
        for page in PAGES.values()
        if page.argument is not None
    ),
]
