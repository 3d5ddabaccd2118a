"""Logs of services and tasks: lines from many nodes, each with where it came from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from shoal.api.call import Call
from shoal.api.frames import Line, LogFormat, send_lines
from shoal.api.log_query import log_request
from shoal.api.versions import raw_stream_type
from shoal.model.service_logs import LogSelector, ServiceLogLine


async def service_logs(call: Call, selector: LogSelector, *, tty: bool) -> web.StreamResponse:
    """Answer with the logs of `selector`'s tasks; with `details`, each line says node, service and task."""
    lines = await call.context.node.service_logs(selector, log_request(call))
    shape = LogFormat(framed=not tty, timestamps=call.flag("timestamps"))
    detailed = _with_details(lines, call.flag("details"))
    return await send_lines(call, detailed, shape, raw_stream_type(call.version, tty))


async def _with_details(
    lines: AsyncIterator[ServiceLogLine], wanted: bool
) -> AsyncIterator[tuple[Line, Mapping[str, str] | None]]:
    async for line in lines:
        yield line, _details(line) if wanted else None


def _details(line: ServiceLogLine) -> dict[str, str]:
    return {
        **line.attrs,
        "com.docker.swarm.node.id": line.node_id,
        "com.docker.swarm.service.id": line.service_id,
        "com.docker.swarm.task.id": line.task_id,
    }
