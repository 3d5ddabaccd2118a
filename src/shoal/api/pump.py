"""Between a hijacked connection and a process: output out (framed unless it is a terminal), input in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from shoal.api.hijack import Hijacked
from shoal.api.stream import SYSTEM_ERROR, frame
from shoal.kit.tasks import background
from shoal.model.errors import ShoalError


class Attachment(Protocol):
    """A process's standard streams, while somebody is attached to them."""

    def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        """Pieces of output: stream (1 or 2) and bytes, until the process ends."""
        ...

    async def write(self, data: bytes) -> None:
        """Give the process input."""
        ...

    async def close_stdin(self) -> None:
        """The client sends no more."""
        ...

    def close(self) -> None:
        """Detach; the process runs on."""
        ...


async def pump(connection: Hijacked, attachment: Attachment, *, framed: bool, stdin: bool, output: bool) -> None:
    """Carry bytes until the process ends, the client is gone, or (`output` false) the client sends no more; then
    detach."""
    try:
        if not output:
            await _carry_in(connection, attachment)
            return
        async with background(_carry_in(connection, attachment) if stdin else _ignore(connection)):
            await _carry_out(connection, attachment, framed)
    finally:
        attachment.close()


async def _carry_out(connection: Hijacked, attachment: Attachment, framed: bool) -> None:
    try:
        async for stream, data in attachment:
            await connection.write(frame(stream, data) if framed else data)
    except ShoalError as fault:
        if framed:
            await connection.write(frame(SYSTEM_ERROR, fault.message.encode()))


async def _carry_in(connection: Hijacked, attachment: Attachment) -> None:
    try:
        while data := await connection.read():
            await attachment.write(data)
        await attachment.close_stdin()
    except (OSError, ShoalError):
        # The process is gone or closed its input: what it still says is worth more than what it did not read.
        await _ignore(connection)


async def _ignore(connection: Hijacked) -> None:
    while await connection.read():
        pass
