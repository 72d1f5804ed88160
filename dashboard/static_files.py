"""Static files under ASGI."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]
from whitenoise.responders import StaticFile  # type: ignore[import-untyped]


class StaticFiles(WhiteNoiseMiddleware):  # type: ignore[misc]  # it has no types
    """WhiteNoise with whole answers.

    Its own are iterators over an open file, which Django under ASGI can only read in full, in the
    event loop and with a warning; this reads them in the thread of the middleware.  Our files are
    small (the largest is a font or a script of the admin)."""

    @staticmethod
    def serve(static_file: StaticFile, request: HttpRequest) -> HttpResponse:
        """The file, or the part of it that `Range` asks for."""
        streamed = WhiteNoiseMiddleware.serve(static_file, request)
        body = b"".join(streamed.streaming_content)
        streamed.close()
        answer = HttpResponse(body, status=streamed.status_code, headers=streamed.headers)
        if body:
            answer["Content-Length"] = str(len(body))  # it may have been replaced since the start
        return answer
