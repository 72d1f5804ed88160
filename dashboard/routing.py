"""The addresses of the live pages' sockets: each page's own, below `/ws`."""

from __future__ import annotations

from django.urls import URLPattern, path

from dashboard.live.consumer import LiveConsumer

_socket = LiveConsumer.as_asgi()

websocket_urlpatterns: list[URLPattern] = [
    path("ws/t/<slug:slug>/<slug:page>", _socket),
    path("ws/t/<slug:slug>/run/<str:run_id>", _socket, {"page": "run"}),
    path("ws/t/<slug:slug>/workflow/<str:name>", _socket, {"page": "workflow"}),
    path("ws/t/<slug:slug>/schedule/<str:name>", _socket, {"page": "schedule"}),
    path("ws/t/<slug:slug>/trigger/<str:name>", _socket, {"page": "trigger"}),
]
