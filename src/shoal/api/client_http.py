"""HTTP/1.1 over one socket: as much as an Engine API client needs, and nothing that slows its start.

http.client costs 29 ms to import (email, ssl), which is more than a whole `docker node ls`; it cannot hand over the
raw connection after `101 Switching Protocols` either. This module is 5 ms and can.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType

_CHUNK = 65536


class ProtocolFault(OSError):
    """The other side does not speak HTTP as it should, or hung up in the middle."""


class Response:
    """A response whose body is read when asked for. Closing it before the end closes the connection."""

    def __init__(self, reader: Reader, method: str, keep: Callable[[Reader], None]) -> None:
        """Read status and headers; interim 1xx answers (but not 101) are skipped.

        `keep` gets the connection back when the body has been read and another request may follow.
        """
        self.reader = reader
        self._keep = keep
        self.status, self.headers = _head(reader)
        while 100 <= self.status < 200 and self.status != 101:
            self.status, self.headers = _head(reader)
        self._chunked = "chunked" in self.headers.get("transfer-encoding", "").lower()
        length = self.headers.get("content-length")
        bodiless = method == "HEAD" or self.status in (101, 204, 304)
        self._left = 0 if bodiless else int(length) if length is not None and not self._chunked else -1
        self._done = self._left == 0

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another request: the body has been read and has an end of its own."""
        framed = self._chunked or self._left >= 0
        return self._done and framed and self.headers.get("connection", "").lower() != "close"

    def chunks(self) -> Iterator[bytes]:
        """The body, piece by piece, as soon as it arrives."""
        while not self._done:
            piece = self._chunk() if self._chunked else self._piece()
            if piece:
                yield piece

    def read(self) -> bytes:
        """The rest of the body."""
        return b"".join(self.chunks())

    def close(self) -> None:
        """Hang up."""
        self.reader.close()

    def __enter__(self) -> Response:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.reusable:
            self._keep(self.reader)
        else:
            self.close()

    def _piece(self) -> bytes:
        piece = self.reader.some(_CHUNK if self._left < 0 else min(self._left, _CHUNK))
        if self._left > 0:
            self._left -= len(piece)
            if not piece:
                raise ProtocolFault("unexpected EOF")
        self._done = not piece or self._left == 0
        return piece

    def _chunk(self) -> bytes:
        if self._left <= 0:
            size = self.reader.line().partition(b";")[0]
            try:
                self._left = int(size, 16)
            except ValueError as fault:
                raise ProtocolFault("malformed chunked encoding") from fault
            if self._left == 0:
                while self.reader.line():
                    pass
                self._done = True
                return b""
        piece = self.reader.some(min(self._left, _CHUNK))
        if not piece:
            raise ProtocolFault("unexpected EOF")
        self._left -= len(piece)
        if self._left == 0:
            self.reader.line()
        return piece


class Reader:
    """A socket with what was read too far."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.buffered = b""

    def some(self, limit: int) -> bytes:
        """Up to `limit` bytes; empty at the end."""
        if not self.buffered:
            return self.socket.recv(limit)
        piece, self.buffered = self.buffered[:limit], self.buffered[limit:]
        return piece

    def line(self) -> bytes:
        """A line without its end. Raises ProtocolFault at the end of the stream."""
        while b"\n" not in self.buffered:
            more = self.socket.recv(_CHUNK)
            if not more:
                raise ProtocolFault("unexpected EOF")
            self.buffered += more
            if len(self.buffered) > 1 << 20 and b"\n" not in self.buffered:
                raise ProtocolFault("line too long")
        line, _, self.buffered = self.buffered.partition(b"\n")
        return line.rstrip(b"\r")

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


def _head(reader: Reader) -> tuple[int, dict[str, str]]:
    version, _, rest = reader.line().decode("latin-1").partition(" ")
    if not version.startswith("HTTP/"):
        raise ProtocolFault(f"malformed HTTP response {version!r}")
    headers: dict[str, str] = {}
    while line := reader.line():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    try:
        return int(rest[:3]), headers
    except ValueError as fault:
        raise ProtocolFault(f"malformed HTTP status code {rest!r}") from fault


def send(
    sock: socket.socket, method: str, target: str, headers: Mapping[str, str], body: bytes | Iterable[bytes] | None
) -> None:
    """Write one request; an iterable body goes out in chunks as it comes."""
    lines = [f"{method} {target} HTTP/1.1"] + [f"{name}: {value}" for name, value in headers.items()]
    if isinstance(body, bytes):
        lines.append(f"Content-Length: {len(body)}")
    elif body is not None:
        lines.append("Transfer-Encoding: chunked")
    elif method == "POST":
        lines.append("Content-Length: 0")
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    if isinstance(body, bytes) or body is None:
        sock.sendall(head + (body or b""))
        return
    sock.sendall(head)
    for piece in body:
        if piece:
            sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
    sock.sendall(b"0\r\n\r\n")
