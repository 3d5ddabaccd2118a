"""Containers: what stays open. Wait, logs, attach and stats."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from shoal.api.call import Call, answer
from shoal.api.frames import Line, LogFormat, send_lines
from shoal.api.hijack import hijack
from shoal.api.log_query import log_request
from shoal.api.pump import pump
from shoal.api.routing import Route
from shoal.api.stream import begin, streaming
from shoal.api.versions import raw_stream_type
from shoal.engine.logs import LogOptions
from shoal.model.errors import InvalidArgument

_CONDITIONS = ("not-running", "next-exit", "removed")


async def wait(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/wait: the headers at once (`docker run` waits for them before it starts the container),
    the exit code when there is one."""
    condition = call.query("condition") or "not-running"
    if condition not in _CONDITIONS:
        raise InvalidArgument(f'invalid condition: "{condition}"')
    containers = call.context.engine.containers
    container = containers.find(call.params["id"])
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(containers.wait(container.id, condition))
        try:
            await asyncio.sleep(0)  # so that it waits from before the client learns that it does
            stream = await begin(call, "application/json")
            code, error = await waiting
        finally:
            waiting.cancel()
    await stream.json({"StatusCode": code, **({"Error": {"Message": error}} if error else {})})
    await stream.response.write_eof()
    return stream.response


async def logs(call: Call) -> web.StreamResponse:
    """GET /containers/{id}/logs."""
    container = call.context.engine.containers.find(call.params["id"])
    asked = log_request(call)
    options = LogOptions(
        stdout=asked.stdout,
        stderr=asked.stderr,
        follow=asked.follow,
        since=asked.since,
        until=call.moment("until"),
        tail=-1 if asked.tail is None else asked.tail,
    )
    lines = call.context.engine.containers.logs(container.id, options)
    details = container.config.labels if call.flag("details") else None
    shape = LogFormat(framed=not container.config.tty, timestamps=call.flag("timestamps"))
    return await send_lines(call, _with(lines, details), shape, raw_stream_type(call.version, container.config.tty))


async def _with(
    lines: AsyncIterator[Line], details: Mapping[str, str] | None
) -> AsyncIterator[tuple[Line, Mapping[str, str] | None]]:
    async for line in lines:
        yield line, details


async def attach(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/attach: standard streams over the raw connection; with `logs`, what was said before."""
    container = call.context.engine.containers.find(call.params["id"])
    stdin = call.flag("stdin") and container.config.open_stdin
    output = call.flag("stdout") or call.flag("stderr")
    attachment = await call.context.engine.containers.attach(
        container.id,
        stdin=stdin and call.flag("stream"),
        stdout=call.flag("stdout"),
        stderr=call.flag("stderr"),
        logs=call.flag("logs"),
        stream=call.flag("stream"),
        detach_keys=call.query("detachKeys"),
    )
    framed = not container.config.tty
    response, connection = await hijack(call, raw_stream_type(call.version, container.config.tty))
    await pump(connection, attachment, framed=framed, stdin=stdin, output=output)
    return response


async def stats(call: Call) -> web.StreamResponse:
    """GET /containers/{id}/stats: one object a second, or one only (`stream=0`)."""
    container = call.context.engine.containers.find(call.params["id"])
    stream_on = "stream" not in call.request.query or call.flag("stream")
    samples = call.context.engine.containers.stats(container.id, stream=stream_on, one_shot=call.flag("one-shot"))
    if not stream_on:
        return answer(await anext(samples))
    async with streaming(call, "application/json") as stream:
        async for sample in samples:
            await stream.json(sample)
    return stream.response


ROUTES = [
    Route("POST", "/containers/{id}/wait", wait, lasting=True),
    Route("GET", "/containers/{id}/logs", logs),
    Route("POST", "/containers/{id}/attach", attach, lasting=True),
    Route("GET", "/containers/{id}/stats", stats),
]
