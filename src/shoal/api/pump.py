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


async def pump(
    connection: Hijacked,
    attachment: Attachment,
    *,
    framed: bool,
    stdin: bool,
    output: bool,
    close_stdin: bool = True,
) -> None:
    """Carry bytes until the process ends, the client is gone, or (`output` false) the client sends no more; then
    detach. With `close_stdin`, the end of what the client sends is the end of the process's input."""
    try:
        if not output:
            await _carry_in(connection, attachment, close_stdin)
            return
        async with background(_carry_in(connection, attachment, close_stdin) if stdin else _ignore(connection)):
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


async def _carry_in(connection: Hijacked, attachment: Attachment, close_stdin: bool) -> None:
    try:
        while data := await connection.read():
            await attachment.write(data)
        if close_stdin:
            await attachment.close_stdin()
    except (OSError, ShoalError):
        # The process is gone or closed its input: what it still says is worth more than what it did not read.
        await _ignore(connection)


async def _ignore(connection: Hijacked) -> None:
    while await connection.read():
        pass
