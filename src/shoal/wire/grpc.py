"""Errors across gRPC, channels to a peer, and a server that really lets go of its connections."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Callable, Collection, Coroutine
from typing import Any, TypeVar

from grpclib import GRPCError, Status
from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.exceptions import ProtocolError, StreamTerminatedError
from grpclib.protocol import H2Protocol
from grpclib.server import Server

from shoal.model import errors

S = TypeVar("S")
H = TypeVar("H")
T = TypeVar("T")

_CODES: dict[str, Status] = {
    "Unknown": Status.UNKNOWN,
    "InvalidArgument": Status.INVALID_ARGUMENT,
    "FailedPrecondition": Status.FAILED_PRECONDITION,
    "Unauthenticated": Status.UNAUTHENTICATED,
    "PermissionDenied": Status.PERMISSION_DENIED,
    "NotFound": Status.NOT_FOUND,
    "AlreadyExists": Status.ALREADY_EXISTS,
    "Unimplemented": Status.UNIMPLEMENTED,
    "Unavailable": Status.UNAVAILABLE,
}
_ERRORS: dict[Status, type[errors.ShoalError]] = {
    _CODES[kind.code]: kind
    for kind in (
        errors.ShoalError,
        errors.InvalidArgument,
        errors.FailedPrecondition,
        errors.Unauthenticated,
        errors.PermissionDenied,
        errors.NotFound,
        errors.Conflict,
        errors.Unimplemented,
        errors.Unavailable,
    )
}

TRANSPORT_ERRORS = (GRPCError, OSError, StreamTerminatedError, ProtocolError, ConnectionError, TimeoutError)
"""Everything that a call over a channel can fail with, besides bugs."""


def to_grpc(error: errors.ShoalError) -> GRPCError:
    """An error of the model as a gRPC status."""
    return GRPCError(_CODES.get(error.code, Status.UNKNOWN), error.message)


def from_grpc(error: BaseException) -> errors.ShoalError:
    """What went wrong in a call, as an error of the model: the peer's status, or Unavailable for the transport's."""
    if isinstance(error, GRPCError):
        return _ERRORS.get(error.status, errors.ShoalError)(error.message or error.status.name)
    return errors.Unavailable(f"connection error: {str(error) or type(error).__name__}")


def rpc(handler: Callable[[H, S], Coroutine[Any, Any, None]]) -> Callable[[H, S], Coroutine[Any, Any, None]]:
    """Wrap a gRPC handler method: errors of the model become statuses."""

    @functools.wraps(handler)
    async def wrapped(self: H, stream: S) -> None:
        try:
            await handler(self, stream)
        except errors.ShoalError as error:
            raise to_grpc(error) from error

    return wrapped


def channel(address: str, context: ssl.SSLContext | None, server_name: str = "swarm-manager") -> Channel:
    """A channel to `host:port`; its peer must have a certificate for `server_name`. Connects at the first call."""
    host, _, port = address.rpartition(":")
    config = Configuration(ssl_target_name_override=server_name if context else None)
    return Channel(host.strip("[]"), int(port), ssl=context, config=config)


async def isolated(call: Coroutine[Any, Any, T]) -> T:
    """Await `call` in a task of its own; for calls in tasks that go on after failures.

    grpclib ends a call whose connection or deadline is lost by cancelling its task, which it does not take back, and
    when the task is cancelled for another reason at the same moment that is forgotten. The task of its own bears both.
    """
    task = asyncio.current_task()
    assert task is not None
    before = task.cancelling()
    try:
        return await asyncio.get_running_loop().create_task(call)
    except Exception:
        if task.cancelling() > before:
            raise asyncio.CancelledError from None
        raise


class NodeServer:
    """A gRPC server whose `close` also cuts the connections: clients of a manager that stopped must look elsewhere.

    (grpclib's own cancels the handlers only.)
    """

    def __init__(self, handlers: Collection[Any]) -> None:
        self._server = Server(handlers)
        self._protocols: set[H2Protocol] = set()
        make = self._server._protocol_factory

        def remember() -> H2Protocol:
            protocol = make()
            self._protocols = {known for known in self._protocols if not _gone(known)} | {protocol}
            return protocol

        self._server._protocol_factory = remember  # type: ignore[method-assign]

    async def start(self, host: str, port: int, context: ssl.SSLContext | None) -> tuple[str, int]:
        """Listen; returns the address, with the port that was chosen if `port` is 0."""
        await self._server.start(host, port, ssl=context)
        listener: Any = self._server._server
        name = listener.sockets[0].getsockname()
        return name[0], name[1]

    def cut(self, reason: Callable[[H2Protocol], bool] = lambda _: True) -> None:
        """Drop the connections that `reason` picks, all by default."""
        for protocol in list(self._protocols):
            transport: Any = getattr(getattr(protocol, "connection", None), "_transport", None)
            if transport is not None and reason(protocol):
                transport.abort()

    async def close(self) -> None:
        """Stop listening, cancel the handlers, cut the connections, wait until all is quiet."""
        self._server.close()
        self.cut()
        await self._server.wait_closed()


def _gone(protocol: H2Protocol) -> bool:
    connection = getattr(protocol, "connection", None)
    return connection is not None and bool(connection.is_closing())
