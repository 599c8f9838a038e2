"""Requests without a network: the WSGI application is called as a server calls it, and its answer is consumed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

from flask import Flask

_ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "POST",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "127.0.0.1",
    "SERVER_PORT": "8000",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "127.0.0.1",
    "HTTP_HOST": "127.0.0.1:8000",
    "HTTP_ACCEPT": "application/json",
    "HTTP_USER_AGENT": "benchmark",
    "CONTENT_TYPE": "application/json",
    "wsgi.version": (1, 0),
    "wsgi.url_scheme": "http",
    "wsgi.multithread": False,
    "wsgi.multiprocess": False,
    "wsgi.run_once": False,
    "wsgi.input_terminated": True,
}


class Client:
    """Post JSON to an application.

    Werkzeug's own test client takes some 100 us of its own for each request, which would hide differences.

    :param app: the application.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._status = ""
        #: CPU seconds of the last request, with the whole answer and the end of its contexts.
        self.cpu_seconds = 0.0

    def post(self, url: str, sent: object, *, expected: int) -> Any:
        """Send one request.

        :param url: the path.
        :param sent: what is sent as JSON.
        :param expected: the status that the answer must have, lest failures be measured.
        :returns: the parsed answer.
        """
        body = json.dumps(sent).encode()
        environ = {
            **_ENVIRON,
            "PATH_INFO": url,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": BytesIO(body),
            "wsgi.errors": BytesIO(),
        }
        started = time.process_time()
        answer = self._call(environ)
        self.cpu_seconds = time.process_time() - started
        if int(self._status.split()[0]) != expected:
            raise RuntimeError(f"{url} answered {self._status}: {answer!r}")
        return json.loads(answer)

    def _call(self, environ: dict[str, Any]) -> bytes:
        chunks: Iterable[bytes] = self._app.wsgi_app(environ, self._start_response)
        try:
            return b"".join(chunks)
        finally:
            close: Callable[[], None] | None = getattr(chunks, "close", None)
            if close is not None:
                close()

    def _start_response(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        self._status = status
        return lambda written: None
