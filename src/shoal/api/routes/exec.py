"""Exec: one more process in a running container."""

from __future__ import annotations

from aiohttp import web

from shoal.api.call import Call, answer, nothing
from shoal.api.hijack import hijack
from shoal.api.pump import pump
from shoal.api.routes.containers import terminal_size
from shoal.api.routing import Route
from shoal.api.versions import raw_stream_type
from shoal.engine.exec import ExecConfig
from shoal.model.base import Struct
from shoal.model.errors import InvalidArgument


class ExecStart(Struct, frozen=True):
    """The body of POST /exec/{id}/start."""

    detach: bool = False
    tty: bool = False
    console_size: list[int] = []


async def create(call: Call) -> web.Response:
    """POST /containers/{id}/exec."""
    asked = await call.body(ExecConfig)
    if not asked.cmd:
        raise InvalidArgument("No exec command specified")
    return answer({"Id": await call.context.engine.containers.exec_create(call.params["id"], asked)}, 201)


async def start(call: Call) -> web.StreamResponse:
    """POST /exec/{id}/start: in the background, or over the raw connection."""
    asked = await call.optional_body(ExecStart) or ExecStart()
    containers = call.context.engine.containers
    inspected = containers.exec_inspect(call.params["id"])
    attachment = await containers.exec_start(call.params["id"], detach=asked.detach, console_size=asked.console_size)
    if asked.detach:
        return nothing(200)
    response, connection = await hijack(call, raw_stream_type(call.version, inspected.tty))
    await pump(connection, attachment, framed=not inspected.tty, stdin=inspected.attach_stdin, output=True)
    return response


async def inspect(call: Call) -> web.Response:
    """GET /exec/{id}/json."""
    return answer(call.context.engine.containers.exec_inspect(call.params["id"]))


async def resize(call: Call) -> web.Response:
    """POST /exec/{id}/resize."""
    await call.context.engine.containers.exec_resize(call.params["id"], *terminal_size(call))
    return nothing(200)


ROUTES = [
    Route("POST", "/containers/{id}/exec", create),
    Route("POST", "/exec/{id}/start", start, lasting=True),
    Route("GET", "/exec/{id}/json", inspect),
    Route("POST", "/exec/{id}/resize", resize),
]
