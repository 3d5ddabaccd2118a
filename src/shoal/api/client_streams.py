"""What comes back in pieces: frames of attach and logs, JSON objects of pull and events, raw connections."""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable, Iterable, Iterator
from queue import Queue
from typing import TYPE_CHECKING, Any

from shoal.api.client_address import Address, Tls
from shoal.api.client_http import ProtocolFault, Reader

if TYPE_CHECKING:
    import ssl

    from _typeshed import ReadableBuffer

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
                [self._socket, self._woken],
                [self._socket] if self._outgoing or (self._ending and not self._half_closed) else [],
                [],
                0 if self._pending() else 0.5,
            )
            if self._woken in readable:
                self._woken.recv(4096)
            self._collect()
            if writable or self._outgoing:
                self._flush()
            if self._ending and not self._outgoing:
                self._close_write()
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
        except OSError:
            self._outgoing = b""  # the process is gone: what it would have read no longer matters

    def _receive(self) -> bytes | None:
        """A piece, b"" at the end, None when there is nothing yet."""
        try:
            return self._socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return None
        except (ConnectionResetError, BrokenPipeError):
            return b""

    def _close_write(self) -> None:
        if self._half_closed:
            return
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except (BlockingIOError, InterruptedError):
            return  # no room for it now: the next turn tries again
        except OSError:
            pass
        self._half_closed = True


def connect_raw(address: Address) -> socket.socket:
    """A connection for `Hijacked`: with TLS too, `shutdown(SHUT_WR)` ends only what we say. Raises OSError."""
    tls = address.tls
    if not tls:
        return address.connect()
    return Address(address.url, _RawTls(tls.ca, tls.cert, tls.key, verify=tls.verify)).connect()


class _RawTls(Tls):
    """The same certificates and checks, around a connection that can be half-closed."""

    def wrap(self, sock: socket.socket, host: str) -> socket.socket:
        return _TlsSocket(sock, self.context(), host)


class _TlsSocket(socket.socket):
    """TLS with a half-close, which SSLSocket has not.

    SSLSocket.unwrap calls SSL_shutdown twice, and the second call breaks the connection when output is arriving. Here
    OpenSSL sees only the bytes that we hand it: with none at hand it says its close_notify and leaves the rest alone.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: str) -> None:
        import ssl

        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._unsent = b""  # encrypted, but not yet taken by the socket
        self._accepted = 0  # how much of what `send` got is encrypted, though `send` has not yet said so
        self._kept = b""  # read before the half-close
        self._goodbye = False
        timeout = sock.gettimeout()
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        try:
            self.settimeout(timeout)
            self._shake_hands()
        except BaseException:
            self.close()
            raise

    def pending(self) -> int:
        """More than 0 when `recv` has something to work on that select does not see."""
        return len(self._kept) + self._tls.pending() + self._incoming.pending

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """As a socket's: BlockingIOError when there is nothing yet, b"" at the end."""
        if self._kept:
            piece, self._kept = self._kept[:bufsize], self._kept[bufsize:]
            return piece
        while (data := self._decrypted(bufsize)) is None:
            self._take_in(bufsize)
        return data

    def send(self, data: ReadableBuffer, flags: int = 0, /) -> int:
        """As a socket's; after BlockingIOError the next call must begin with the same bytes, as OpenSSL has it."""
        if not self._accepted:
            self._accepted = self._tls.write(memoryview(data)[:_CHUNK])
        self._flush()
        sent, self._accepted = self._accepted, 0
        return sent

    def sendall(self, data: ReadableBuffer, flags: int = 0, /) -> None:
        """As a socket's."""
        left = memoryview(data)
        while left:
            left = left[self.send(left) :]

    def shutdown(self, how: int, /) -> None:
        """SHUT_WR says close_notify; what the other side sends can still be read. Call again on BlockingIOError."""
        if how != socket.SHUT_WR:
            super().shutdown(how)
            return
        if not self._goodbye:
            while data := self._decrypted(_CHUNK):  # SSL_shutdown must find nothing to read
                self._kept += data
            self._goodbye = True
            try:
                self._tls.unwrap()
            except OSError:
                pass  # always: the other side's close_notify is not there yet
        self._flush()

    def _shake_hands(self) -> None:
        import ssl

        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                self._take_in(_CHUNK)
            except OSError:
                self._flush_if_possible()  # tells the other side why
                raise
            else:
                self._flush()
                return

    def _decrypted(self, limit: int) -> bytes | None:
        """The next bytes, b"" at the end (SSLSocket, too, takes a missing close_notify for one), None: not yet."""
        import ssl

        try:
            return self._tls.read(limit)
        except ssl.SSLWantReadError:
            return None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""
        finally:
            self._flush_if_possible()

    def _take_in(self, limit: int) -> None:
        data = super().recv(max(limit, _CHUNK))
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush_if_possible(self) -> None:
        """Send what reading has brought up: an alert, an answer to a change of keys."""
        if self._outgoing.pending:
            try:
                self._flush()
            except OSError:
                pass  # what can be read comes first; the next `send` finds out

    def _flush(self) -> None:
        self._unsent += self._outgoing.read()
        while self._unsent:
            self._unsent = self._unsent[super().send(self._unsent) :]
