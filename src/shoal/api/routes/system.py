"""The engine itself: ping, version, info, disk use, registry login."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from shoal.api import facts, present_engine
from shoal.api.call import Call, answer
from shoal.api.present_container import summary
from shoal.api.routes.containers import image_shown, sizes
from shoal.api.routes.volumes import users_of_volumes
from shoal.api.routing import Route
from shoal.engine.layers import tree_size
from shoal.model.engine import AuthConfig
from shoal.model.errors import InvalidArgument
from shoal.node.info import swarm_header

_TYPES = ("container", "image", "volume", "build-cache")


async def ping(call: Call) -> web.Response:
    """HEAD or GET /_ping: what every client asks first; works whatever state the swarm is in."""
    headers = {
        "Builder-Version": "1",
        "Cache-Control": "no-cache, no-store, must-revalidate",
        "Pragma": "no-cache",
        "Swarm": swarm_header(call.context.node.swarm_info()),
    }
    if call.request.method == "HEAD":
        return web.Response(headers=headers, content_type="text/plain")
    return web.Response(text="OK", headers=headers)


async def version(call: Call) -> web.Response:
    """GET /version."""
    return answer(facts.version(call))


async def info(call: Call) -> web.Response:
    """GET /info."""
    return answer(facts.info(call))


async def login(call: Call) -> web.Response:
    """POST /auth: whether a registry takes these credentials."""
    status = await call.context.engine.images.registry_login(await call.body(AuthConfig))
    return answer({"Status": status, "IdentityToken": ""})


async def disk_use(call: Call) -> web.Response:
    """GET /system/df."""
    asked = call.request.query.getall("type", list(_TYPES))
    for kind in asked:
        if kind not in _TYPES:
            raise InvalidArgument(f"unknown object type: {kind}")
    engine = call.context.engine
    shown: dict[str, object] = {"LayersSize": 0}
    containers, images = engine.containers.list(), engine.images.list()
    if "image" in asked:
        shown["LayersSize"] = sum(image.size for image in images)
        users = [container.image_id for container in containers]
        shown["Images"] = [
            present_engine.image_summary(image, call.version, users.count(image.id)) | {"SharedSize": 0}
            for image in images
        ]
    if "container" in asked:
        now = call.context.clock.now()
        shown["Containers"] = [
            summary(container, image_shown(call, container), now, call.version)
            | await sizes(call, container.id, container.image_id)
            for container in containers
        ]
    if "volume" in asked:
        used = users_of_volumes(call)
        shown["Volumes"] = [
            present_engine.volume(volume, (await _size(volume.mountpoint), len(used.get(volume.name, []))))
            for volume in engine.volumes.list()
        ]
    if "build-cache" in asked:
        shown["BuildCache"] = []
        shown["BuilderSize"] = 0
    return answer(shown)


async def _size(directory: str) -> int:
    return await asyncio.to_thread(tree_size, Path(directory))


ROUTES = [
    Route("GET", "/_ping", ping),
    Route("HEAD", "/_ping", ping),
    Route("GET", "/version", version),
    Route("GET", "/info", info),
    Route("POST", "/auth", login),
    Route("GET", "/system/df", disk_use),
]
