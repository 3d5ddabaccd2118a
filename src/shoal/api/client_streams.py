"""What comes back in pieces: frames of attach and logs, JSON objects of pull and events, raw connections."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable, Iterable, Iterator
from queue import Queue
from typing import Any

from shoal.api.client_http import ProtocolFault, Reader

_CHUNK = 65536
_MOST_WAITING = 1 << 20


def objects(chunks: Iterable[bytes]) -> Iterator[Any]:
    """The JSON values that stand one after the other in `chunks`, each as soon as it is complete."""
    decoder = json.JSONDecoder()
    pending, text = b"", ""
    for chunk in chunks:
        pending += chunk
        try:
            text, pending = text + pending.decode(), b""
        except UnicodeDecodeError as fault:
            text, pending = text + pending[: fault.start].decode(), pending[fault.start :]
        while text := text.lstrip():
            try:
                value, end = decoder.raw_decode(text)
            except ValueError:
                break
            yield value
            text = text[end:]
    if text.strip() or pending:
        raise ProtocolFault("unexpected end of JSON input")


def frames(chunks: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The multiplexed frames in `chunks`: (1 stdout, 2 stderr, 3 error text), payload."""
    buffer = b""
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= 8:
            end = 8 + int.from_bytes(buffer[4:8], "big")
            if len(buffer) < end:
                break
            yield buffer[0], buffer[8:end]
            buffer = buffer[end:]
    if buffer:
        raise ProtocolFault("unexpected EOF")


class Hijacked:
    """A raw connection after 101: bytes both ways, and half-close.

    One thread owns the socket (a TLS connection must not be used by two): `pump` sends what other threads `feed`.
    """

    def __init__(self, reader: Reader, multiplexed: bool) -> None:
        self._socket = reader.socket
        self._first = reader.buffered
        self.multiplexed = multiplexed
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._inbox: Queue[bytes | None] = Queue(maxsize=16)
        self._outgoing = b""
        self._ending = False
        self._half_closed = False

    def feed(self, data: bytes | None) -> None:
        """Send `data`, or with None: no more will come (half-close).

        For a thread other than the pump's: it waits while much is still to be sent.
        """
        self._inbox.put(data)
        self.wake()

    def wake(self) -> None:
        """Have the pump call `idle` now. From anywhere, also from a signal handler."""
        try:
            self._wake.send(b"!")
        except OSError:
            pass  # full: a wake-up is pending anyway; closed: nobody reads any more

    def pump(self, *, idle: Callable[[], None] = lambda: None) -> Iterator[bytes]:
        """What the other side sends until it closes; everything fed goes out meanwhile; `idle` is called each turn."""
        if self._first:
            yield self._first
        self._socket.setblocking(False)
        while True:
            idle()
            readable, writable, _ = select.select(
                [self._socket, self._woken], [self._socket] if self._outgoing else [], [], 0.5
            )
            if self._woken in readable:
                self._woken.recv(4096)
            self._collect()
            if writable or self._outgoing:
                self._flush()
            if self._ending and not self._outgoing:
                self._close_write()
            if self._socket in readable or self._pending():
                piece = self._receive()
                if piece == b"":
                    return
                if piece:
                    yield piece

    def close(self) -> None:
        """Hang up."""
        for sock in (self._socket, self._wake, self._woken):
            sock.close()

    def _pending(self) -> bool:
        pending = getattr(self._socket, "pending", None)
        return bool(pending and pending())

    def _collect(self) -> None:
        while len(self._outgoing) < _MOST_WAITING and not self._inbox.empty():
            data = self._inbox.get()
            if data is None:
                self._ending = True
            else:
                self._outgoing += data

    def _flush(self) -> None:
        try:
            while self._outgoing:
                self._outgoing = self._outgoing[self._socket.send(self._outgoing) :]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError as fault:
            if not _wants(fault):
                self._outgoing = b""  # the process is gone: what it would have read no longer matters

    def _receive(self) -> bytes | None:
        """A piece, b"" at the end, None when there is nothing yet."""
        try:
            return self._socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return None
        except (ConnectionResetError, BrokenPipeError):
            return b""
        except OSError as fault:
            if _wants(fault):
                return None
            raise

    def _close_write(self) -> None:
        if self._half_closed:
            return
        self._half_closed = True
        unwrap = getattr(self._socket, "unwrap", None)
        try:
            if unwrap:
                unwrap()  # sends close_notify; the peer's answer comes later, so this "wants read"
            else:
                self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def _wants(fault: OSError) -> bool:
    """Whether TLS only asks to try again."""
    return type(fault).__name__ in ("SSLWantReadError", "SSLWantWriteError")
