"""Answers that grow: framed output, JSON objects one after another, progress. Every write is flushed at once."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from shoal.api.call import Call

STDIN, STDOUT, STDERR, SYSTEM_ERROR = 0, 1, 2, 3

Progress = Callable[[dict[str, Any]], None]


def frame(stream: int, payload: bytes) -> bytes:
    """`payload` with the 8-byte header of multiplexed output: [stream, 0, 0, 0, length]."""
    return struct.pack(">BxxxL", stream, len(payload)) + payload


class Stream:
    """A chunked answer in progress. Its writes raise ConnectionError once the client is gone."""

    def __init__(self, response: web.StreamResponse) -> None:
        self.response = response

    async def write(self, data: bytes) -> None:
        """Send `data` now."""
        await self.response.write(data)

    async def json(self, value: object) -> None:
        """Send one JSON object and a line end."""
        await self.response.write(msgspec.json.encode(value) + b"\r\n")


async def begin(call: Call, content_type: str) -> Stream:
    """Send status 200 and the headers now; the body follows through the `Stream`."""
    response = web.StreamResponse(headers={"Content-Type": content_type})
    await response.prepare(call.request)
    return Stream(response)


@asynccontextmanager
async def streaming(call: Call, content_type: str) -> AsyncIterator[Stream]:
    """A scope in which a `Stream` is open; the answer is complete when the scope ends."""
    stream = await begin(call, content_type)
    yield stream
    await stream.response.write_eof()


async def with_progress(call: Call, work: Callable[[Progress], Awaitable[None]]) -> web.StreamResponse:
    """Run `work`, sending what it reports as one JSON object each.

    As docker does: a failure before the first report is an ordinary error answer; afterwards the status is already
    out, and the failure is an object with `errorDetail` and `error`.
    """
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    progress = _reporter(queue)
    failures: list[Exception] = []

    async def run() -> None:
        try:
            await work(progress)
        except Exception as fault:
            failures.append(fault)
        finally:
            queue.put_nowait(None)

    stream: Stream | None = None
    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        try:
            while (report := await queue.get()) is not None:
                stream = stream or await begin(call, "application/json")
                await stream.json(report)
        except ConnectionError:
            task.cancel()
            raise
    if failures:
        if stream is None:
            raise failures[0]
        message = str(failures[0]) or type(failures[0]).__name__
        await stream.json({"errorDetail": {"message": message}, "error": message})
    stream = stream or await begin(call, "application/json")
    await stream.response.write_eof()
    return stream.response


def _reporter(queue: asyncio.Queue[dict[str, Any] | None]) -> Progress:
    """A progress callable that may be called from any thread."""
    loop, home = asyncio.get_running_loop(), threading.get_ident()

    def report(message: dict[str, Any]) -> None:
        if threading.get_ident() == home:
            queue.put_nowait(message)
        else:
            loop.call_soon_threadsafe(queue.put_nowait, message)

    return report
