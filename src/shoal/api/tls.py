"""TLS whose client may stop sending and still read, which `docker run -i` and `exec -i` need.

asyncio's and uvloop's own TLS end the connection at the client's close_notify. This terminator keeps it: the inner
protocol gets `eof_received`, and what it writes afterwards still reaches the client.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, cast

_CHUNK = 256 * 1024
_PLAIN_HTTP = (
    b"HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
)


class TlsProtocol(asyncio.Protocol):
    """Sits on a plain transport; makes the inner protocol once the handshake is done."""

    def __init__(self, context: ssl.SSLContext, factory: Callable[[], asyncio.Protocol]) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._factory = factory
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._ended = False
        self._timer: asyncio.TimerHandle | None = None

    # --- what the plain transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A TCP connection: wait for the handshake, thirty seconds at most."""
        self._transport = cast(asyncio.Transport, transport)
        self._timer = asyncio.get_running_loop().call_later(30, self._transport.abort)

    def data_received(self, data: bytes) -> None:
        """Encrypted bytes came in."""
        self._incoming.write(data)
        self._advance()

    def eof_received(self) -> bool:
        """TCP's end of stream; a client that did not say close_notify before it is cut off here too."""
        self._end()
        return self._inner is not None

    def connection_lost(self, exc: Exception | None) -> None:
        """The TCP connection is gone."""
        self._stop_timer()
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """Back pressure, passed inwards."""
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The opposite of `pause_writing`."""
        if self._inner is not None:
            self._inner.resume_writing()

    # --- what `_TlsTransport` calls

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        assert self._transport is not None
        if data and not self._transport.is_closing():
            self._tls.write(data)
            self._flush()

    def say_goodbye(self) -> None:
        """Send close_notify."""
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass
        self._flush()

    # --- inside

    def _advance(self) -> None:
        try:
            if self._inner is None and not self._shake_hands():
                return
            assert self._inner is not None
            while not self._ended:
                data = self._tls.read(_CHUNK)
                if not data:
                    self._end()
                    return
                self._inner.data_received(data)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._end()
        except ssl.SSLError as fault:
            self._flush()
            if self._transport is not None:
                if fault.reason == "HTTP_REQUEST":
                    self._transport.write(_PLAIN_HTTP)
                self._transport.close()
        finally:
            self._flush()

    def _shake_hands(self) -> bool:
        assert self._transport is not None
        self._tls.do_handshake()
        self._flush()
        self._stop_timer()
        self._inner = self._factory()
        self._inner.connection_made(_TlsTransport(self._transport, self))
        return True

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self._inner is None or not self._inner.eof_received():
            assert self._transport is not None
            self.say_goodbye()
            self._transport.close()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _TlsTransport(asyncio.Transport):
    """What the inner protocol writes to."""

    def __init__(self, plain: asyncio.Transport, protocol: TlsProtocol) -> None:
        super().__init__()
        self._plain = plain
        self._tls = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._plain.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._tls.write(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self._tls.write(b"".join(list_of_data))

    def is_closing(self) -> bool:
        return self._plain.is_closing()

    def close(self) -> None:
        if not self._plain.is_closing():
            self._tls.say_goodbye()
        self._plain.close()

    def can_write_eof(self) -> bool:
        return False

    def abort(self) -> None:
        self._plain.abort()

    def pause_reading(self) -> None:
        self._plain.pause_reading()

    def resume_reading(self) -> None:
        self._plain.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._plain.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._plain.set_write_buffer_limits(high, low)
