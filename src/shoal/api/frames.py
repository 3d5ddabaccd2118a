"""Log lines as an answer's bytes: timestamp and details before the text, one frame a line."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import quote_plus

from aiohttp import web

from shoal.api.call import Call
from shoal.api.stream import SYSTEM_ERROR, Stream, begin, frame
from shoal.api.times import log_timestamp
from shoal.model.errors import ShoalError


class Line(Protocol):
    """A line of output: stream 1 or 2, when, and the bytes with their line end."""

    @property
    def stream(self) -> int: ...

    @property
    def moment(self) -> datetime: ...

    @property
    def data(self) -> bytes: ...


@dataclass(frozen=True)
class LogFormat:
    """What stands around each line: `framed` unless it came from a terminal."""

    framed: bool
    timestamps: bool = False

    def line(self, line: Line, details: Mapping[str, str] | None = None) -> bytes:
        """`line` as it is sent; `details` are written `k=v,k2=v2 ` after the timestamp, escaped as in URLs."""
        stamp = getattr(line, "stamp", "") or log_timestamp(line.moment)
        head = f"{stamp} " if self.timestamps else ""
        if details is not None:
            head += ",".join(f"{quote_plus(key)}={quote_plus(details[key])}" for key in sorted(details)) + " "
        payload = head.encode() + line.data
        return frame(line.stream, payload) if self.framed else payload


async def send_lines(
    call: Call, lines: AsyncIterator[tuple[Line, Mapping[str, str] | None]], shape: LogFormat, content_type: str
) -> web.StreamResponse:
    """Send `lines` as they come. A failure on the way is told in the stream, where clients show it as an error."""
    stream: Stream | None = None
    try:
        stream = await begin(call, content_type)
        async for line, details in lines:
            await stream.write(shape.line(line, details))
    except ShoalError as fault:
        if stream is None or not shape.framed:
            raise
        await stream.write(frame(SYSTEM_ERROR, f"Error grabbing logs: {fault.message}\n".encode()))
    await stream.response.write_eof()
    return stream.response
