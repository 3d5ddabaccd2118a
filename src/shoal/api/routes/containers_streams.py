"""Containers: what stays open. Wait, logs, attach and stats."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from shoal.api.call import Call, answer
from shoal.api.frames import Line, LogFormat, send_lines
from shoal.api.hijack import Hijacked, hijack
from shoal.api.log_query import log_request
from shoal.api.pump import pump
from shoal.api.routing import Route
from shoal.api.stream import begin, frame, streaming
from shoal.api.versions import raw_stream_type
from shoal.engine.logs import LogLine, LogOptions
from shoal.model.container import Container
from shoal.model.errors import InvalidArgument

_CONDITIONS = ("not-running", "next-exit", "removed")


async def wait(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/wait: the headers at once (`docker run` waits for them before it starts the container),
    the exit code when there is one."""
    condition = call.query("condition") or "not-running"
    if condition not in _CONDITIONS:
        raise InvalidArgument(f'invalid condition: "{condition}"')
    containers = call.context.engine.containers
    waiting = containers.wait(call.params["id"], condition)  # it counts from here on, before the client learns of it
    stream = await begin(call, "application/json")
    code, error = await waiting
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
    details = _details(container) if call.flag("details") else None
    shape = LogFormat(framed=not container.config.tty, timestamps=call.flag("timestamps"))
    return await send_lines(call, _with(lines, details), shape, raw_stream_type(call.version, container.config.tty))


def _details(container: Container) -> dict[str, str]:
    """The labels and variables that the log options `labels` and `env` name."""
    options = container.host_config.log_config.config
    variables = dict(entry.partition("=")[::2] for entry in container.config.env)
    return {
        name: source[name]
        for key, source in (("labels", container.config.labels), ("env", variables))
        for name in options.get(key, "").split(",")
        if name in source
    }


async def _with(
    lines: AsyncIterator[Line], details: Mapping[str, str] | None
) -> AsyncIterator[tuple[Line, Mapping[str, str] | None]]:
    async for line in lines:
        yield line, details


async def attach(call: Call) -> web.StreamResponse:
    """POST /containers/{id}/attach: standard streams over the raw connection; with `logs`, what was said before."""
    containers = call.context.engine.containers
    container = containers.find(call.params["id"])
    stdin, stdout, stderr = call.flag("stdin"), call.flag("stdout"), call.flag("stderr")
    history = containers.logs(container.id, LogOptions(stdout=stdout, stderr=stderr)) if call.flag("logs") else None
    framed = not container.config.tty
    kind = raw_stream_type(call.version, container.config.tty)
    if not call.flag("stream"):
        response, connection = await hijack(call, kind)
        await _replay(connection, history, framed)
        return response
    attachment = await containers.attach(container.id, stdin=stdin, stdout=stdout, stderr=stderr)
    try:
        response, connection = await hijack(call, kind)
        await _replay(connection, history, framed)
        await pump(
            connection,
            attachment,
            framed=framed,
            stdin=stdin and container.config.open_stdin,
            output=stdout or stderr,
            close_stdin=container.config.stdin_once and not container.config.tty,
        )
    finally:
        attachment.close()
    return response


async def _replay(connection: Hijacked, history: AsyncIterator[LogLine] | None, framed: bool) -> None:
    if history is not None:
        async for line in history:
            await connection.write(frame(line.stream, line.data) if framed else line.data)


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
