"""Exec: one more process in a running container."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from shoal.api.call import Call, answer, nothing
from shoal.api.hijack import hijack
from shoal.api.pump import pump
from shoal.api.routes.containers import terminal_size
from shoal.api.routing import Route
from shoal.api.versions import raw_stream_type
from shoal.engine.execs import ExecConfig, ExecInfo
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
    config = containers.exec_inspect(call.params["id"]).config
    running = await containers.exec_start(
        call.params["id"], detach=asked.detach, console_size=asked.console_size or None
    )
    if running is None:
        return nothing(200)
    response, connection = await hijack(call, raw_stream_type(call.version, config.tty))
    await pump(connection, running, framed=not config.tty, stdin=config.attach_stdin, output=True)
    return response


async def inspect(call: Call) -> web.Response:
    """GET /exec/{id}/json."""
    return answer(shown(call.context.engine.containers.exec_inspect(call.params["id"])))


def shown(info: ExecInfo) -> dict[str, Any]:
    """An exec as the API prints it."""
    config = info.config
    return {
        "ID": info.id,
        "Running": info.running,
        "ExitCode": info.exit_code,
        "ProcessConfig": {
            "tty": config.tty,
            "entrypoint": config.cmd[0],
            "arguments": config.cmd[1:],
            "privileged": config.privileged,
            **({"user": config.user} if config.user else {}),
        },
        "OpenStdin": config.attach_stdin,
        "OpenStderr": config.attach_stderr,
        "OpenStdout": config.attach_stdout,
        "CanRemove": False,
        "ContainerID": info.container_id,
        "DetachKeys": "",
        "Pid": info.pid,
    }


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
