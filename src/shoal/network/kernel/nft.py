"""nftables through libnftables: a batch of commands is one transaction, all or nothing.

A context talks to the namespace in which it was made. Making one costs 0.04 ms, but it holds 0.6 MB and, by its
socket, the namespace; and closing a netfilter socket waits until the kernel has freed what the last transaction threw
away (10-20 ms). So a node keeps one context for its own namespace, and a sandbox makes one for the moment it needs it
and leaves it to a `Reaper`.
"""

from __future__ import annotations

import ctypes
import queue
import threading
import time
from collections.abc import Callable
from functools import cache

from shoal.model.errors import ShoalError
from shoal.network.kernel.namespaces import Namespace


class Nft:
    """An open nftables context in one namespace."""

    _library_lock = threading.Lock()  # libnftables has globals; calls take 0.1 ms, so one lock for all contexts

    def __init__(self, namespace: Namespace) -> None:
        library = _library()
        with self._library_lock, namespace.entered():
            self._context = library.nft_ctx_new(0)
            if not self._context:
                raise ShoalError("libnftables: cannot make a context")
        library.nft_ctx_buffer_error(self._context)
        library.nft_ctx_buffer_output(self._context)

    def run(self, commands: str) -> str:
        """Run `commands` as one transaction and return what they print; ShoalError with nft's words.

        They are made by this program, so when they are refused the kernel mostly lacks something.
        """
        library = _library()
        with self._library_lock:
            if not self._context:
                raise ShoalError("nftables: the context is closed")
            failed = library.nft_run_cmd_from_buffer(self._context, commands.encode())
            errors = library.nft_ctx_get_error_buffer(self._context)
            output = library.nft_ctx_get_output_buffer(self._context)
        if failed:
            words = (errors or b"").decode(errors="replace").strip()
            raise ShoalError(f"nftables: {words} (`shoal doctor` tells whether the kernel lacks something)")
        return (output or b"").decode()

    def close(self) -> None:
        """Free the context. Idempotent."""
        with self._library_lock:
            context, self._context = self._context, None
        if context:
            _library().nft_ctx_free(context)


class Reaper:
    """A thread that closes netfilter sockets a little later, when it costs nothing any more."""

    _AGE = 0.04
    """Seconds after which the kernel has freed what a transaction threw away."""

    def __init__(self) -> None:
        self._doomed: queue.Queue[tuple[float, Callable[[], None]] | None] = queue.Queue(maxsize=24)
        self._thread = threading.Thread(target=self._run, name="shoal-network-reaper", daemon=True)
        self._thread.start()

    def later(self, close: Callable[[], None]) -> None:
        """Call `close` soon. Waits while too much is waiting already."""
        self._doomed.put((time.monotonic() + self._AGE, close))

    def close(self) -> None:
        """Close what is left, and end."""
        self._doomed.put(None)
        self._thread.join()

    def _run(self) -> None:
        while item := self._doomed.get():
            due, close = item
            time.sleep(max(0.0, due - time.monotonic()))
            close()


def run_once(namespace: Namespace, commands: str, reaper: Reaper) -> str:
    """Run `commands` as one transaction in `namespace`."""
    context = Nft(namespace)
    try:
        return context.run(commands)
    finally:
        reaper.later(context.close)


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libnftables.so.1")
    except OSError as fault:
        raise ShoalError("libnftables.so.1 is missing: install the package libnftables1 (nftables)") from fault
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    for name in ("nft_ctx_free", "nft_ctx_buffer_error", "nft_ctx_buffer_output"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_error_buffer", "nft_ctx_get_output_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library
