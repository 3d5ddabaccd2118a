"""A daemon that answers from a table and remembers what it was asked, for tests of command lines."""

from __future__ import annotations

import http.server
import json
import re
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl


class Request:
    """What was asked: method, path without the version, query, JSON body (None without one), raw body."""

    def __init__(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> None:
        path, _, query = target.partition("?")
        self.method, self.path, self.query = method, re.sub(r"^/v\d\.\d+", "", path), dict(parse_qsl(query))
        self.raw, self.headers = body, headers
        self.body = json.loads(body) if body[:1] in (b"{", b"[") else None

    def __repr__(self) -> str:
        return f"{self.method} {self.path} {self.query} {self.body}"


Answer = Any
"""A JSON value; (status, JSON value); bytes for a stream; or a callable that takes the request and returns those."""


class FakeDaemon:
    """`routes` maps `"GET /nodes"` (a regular expression for the path) to an answer; `requests` is what was asked."""

    def __init__(self, path: Path, routes: dict[str, Answer]) -> None:
        self.url = f"unix://{path}"
        self.routes: dict[str, Answer] = {
            "(GET|HEAD) /_ping": b"OK",
            "GET /version": {"ApiVersion": "1.50", "Version": "28.2.2", "MinAPIVersion": "1.24"},
            **routes,
        }
        self.requests: list[Request] = []
        self.version = "1.50"

    def answer(self, request: Request) -> tuple[int, bytes, str]:
        """Status, body and content type."""
        self.requests.append(request)
        for pattern, answer in reversed(self.routes.items()):
            if re.fullmatch(pattern, f"{request.method} {request.path}"):
                return _rendered(answer(request) if callable(answer) else answer)
        return _rendered((404, {"message": "page not found"}))

    def asked(self, method: str = "POST") -> list[Request]:
        """The requests with that method."""
        return [request for request in self.requests if request.method == method]


def _rendered(answer: Answer) -> tuple[int, bytes, str]:
    status = 200
    if isinstance(answer, tuple):
        status, answer = answer
    if isinstance(answer, bytes):
        kind = "application/vnd.docker.multiplexed-stream" if answer[:1] in (b"\1", b"\2") else "application/json"
        return status, answer, kind
    return status, b"" if answer is None else json.dumps(answer).encode(), "application/json"


@contextmanager
def fake_daemon(path: Path, routes: dict[str, Answer]) -> Iterator[FakeDaemon]:
    """A running fake on the unix socket `path`."""
    daemon = FakeDaemon(path, routes)

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length) if length else self._chunked()
            request = Request(self.command, self.path, body, {k.lower(): v for k, v in self.headers.items()})
            status, data, kind = daemon.answer(request)
            self.send_response(status)
            self.send_header("Api-Version", daemon.version)
            self.send_header("Ostype", "linux")
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                with suppress(BrokenPipeError):  # a client may not want to know the answer
                    self.wfile.write(data)

        def _chunked(self) -> bytes:
            data = b""
            if self.headers.get("Transfer-Encoding") == "chunked":
                while size := int(self.rfile.readline(), 16):
                    data += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            return data

        do_GET = do_POST = do_DELETE = do_HEAD = do_PUT = handle_any

        def address_string(self) -> str:
            return "client"

        def log_message(self, *arguments: object) -> None:
            pass

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

    with Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield daemon
        finally:
            server.shutdown()
            thread.join()


Routes = Callable[[], dict[str, Answer]]
