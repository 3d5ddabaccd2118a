"""GET /events: what happens on this engine and, on managers, in the swarm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from shoal.api import present_engine, swarm_events
from shoal.api.call import Call
from shoal.api.routing import Route
from shoal.api.stream import streaming
from shoal.kit.tasks import background
from shoal.model.engine import Event
from shoal.model.errors import Unavailable
from shoal.model.filters import Filters

_KINDS = ("config", "container", "daemon", "image", "network", "node", "plugin", "secret", "service", "volume")
_QUEUE = 1000
_ALLOWED = (*_KINDS, "event", "label", "scope", "type")


async def events(call: Call) -> web.StreamResponse:
    """Past events from `since`, then the present until `until`; without `until`, as long as the client listens."""
    asked = call.filters(_ALLOWED)
    since, until = call.moment("since"), call.moment("until")
    context = call.context
    queue: asyncio.Queue[Event | None] = asyncio.Queue(_QUEUE)
    local = context.engine.events.subscribe(since, until)
    async with background(_forward(local, queue, last=True)) as group:
        try:
            group.create_task(_forward(swarm_events.listen(context.control, context.clock), queue))
        except Unavailable:
            pass  # no manager: this engine's own events are all there is
        async with streaming(call, "application/json") as stream:
            while (event := await queue.get()) is not None:
                if wanted(event, asked):
                    await stream.json(present_engine.event(event, call.version))
    return stream.response


async def _forward(source: AsyncIterator[Event], queue: asyncio.Queue[Event | None], last: bool = False) -> None:
    async for event in source:
        await queue.put(event)
    if last:
        await queue.put(None)


def wanted(event: Event, asked: Filters) -> bool:
    """Whether `asked` lets `event` through."""
    attributes = event.actor.attributes
    for key, values in asked.items():
        if key == "type":
            ok = event.type in values
        elif key == "event":
            ok = any(event.action == value or event.action.startswith(f"{value}:") for value in values)
        elif key == "scope":
            ok = event.scope in values
        elif key == "label":
            ok = all(_has_label(attributes, value) for value in values)
        elif key == "image":
            names = {event.actor.id, attributes.get("name", ""), attributes.get("image", "")}
            ok = any(_same_image(value, name) for value in values for name in names)
        else:
            ok = event.type == key and any(
                event.actor.id.startswith(value) or attributes.get("name") == value for value in values
            )
        if not ok:
            return False
    return True


def _has_label(attributes: dict[str, str], wanted_label: str) -> bool:
    name, equals, value = wanted_label.partition("=")
    return name in attributes and (not equals or attributes[name] == value)


def _same_image(value: str, name: str) -> bool:
    return bool(name) and (name == value or name.rpartition(":")[0] == value)


ROUTES = [Route("GET", "/events", events)]
