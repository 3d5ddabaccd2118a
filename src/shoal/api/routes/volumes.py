"""Local volumes."""

from __future__ import annotations

import asyncio

from aiohttp import web

from shoal.api import announce, present_engine
from shoal.api.call import Call, answer, nothing
from shoal.api.routing import Route
from shoal.model.base import Struct
from shoal.model.engine import Volume
from shoal.model.errors import Unimplemented
from shoal.model.filters import match_any, match_labels, truth


class VolumeRequest(Struct, frozen=True):
    """The body of POST /volumes/create."""

    name: str = ""
    driver: str = "local"
    driver_opts: dict[str, str] = {}
    labels: dict[str, str] = {}
    cluster_volume_spec: dict[str, object] | None = None


async def list_volumes(call: Call) -> web.Response:
    """GET /volumes."""
    asked = call.filters(("dangling", "driver", "label", "name"))
    used = users_of_volumes(call)
    rows = [
        volume
        for volume in call.context.engine.volumes.list()
        if match_labels(asked, volume.labels)
        and match_any(asked, "driver", volume.driver)
        and ("name" not in asked or any(wanted in volume.name for wanted in asked["name"]))
        and ("dangling" not in asked or truth(asked["dangling"][0]) == (volume.name not in used))
    ]
    return answer({"Volumes": [present_engine.volume(row) for row in rows], "Warnings": None})


def users_of_volumes(call: Call) -> dict[str, list[str]]:
    """Which containers mount which volume: volume name -> container ids."""
    users: dict[str, list[str]] = {}
    for container in call.context.engine.containers.list():
        for mount in container.mounts:
            if mount.type == "volume":
                users.setdefault(mount.name, []).append(container.id)
    return users


async def create(call: Call) -> web.Response:
    """POST /volumes/create: a volume that exists already is answered as it is."""
    asked = await call.body(VolumeRequest)
    if asked.cluster_volume_spec is not None:
        raise Unimplemented("cluster volumes are not supported")
    known = {volume.name for volume in call.context.engine.volumes.list()}
    volume = call.context.engine.volumes.create(
        asked.name, driver=asked.driver, options=asked.driver_opts, labels=asked.labels
    )
    if volume.name not in known:
        announce.volume(call, "create", volume)
    return answer(present_engine.volume(volume), 201)


async def inspect(call: Call) -> web.Response:
    """GET /volumes/{name}."""
    return answer(present_engine.volume(call.context.engine.volumes.find(call.params["name"])))


async def remove(call: Call) -> web.Response:
    """DELETE /volumes/{name}."""
    volumes, name = call.context.engine.volumes, call.params["name"]
    gone = [volume for volume in volumes.list() if volume.name == name]
    await asyncio.to_thread(volumes.remove, name, force=call.flag("force"))
    for volume in gone:
        announce.volume(call, "destroy", volume)
    return nothing()


async def prune(call: Call) -> web.Response:
    """POST /volumes/prune: anonymous volumes only, unless `all` (before 1.42 always all)."""
    asked = call.filters(("label", "label!", "all"))
    everything = call.version < (1, 42) or any(truth(value) for value in asked.get("all", []))

    def keep(volume: Volume) -> bool:
        spared = "label!" in asked and match_labels(asked, volume.labels, "label!")
        return spared or not match_labels(asked, volume.labels)

    deleted, reclaimed = await asyncio.to_thread(call.context.engine.volumes.prune, keep, anonymous_only=not everything)
    announce.pruned(call, "volume", reclaimed)
    return answer({"VolumesDeleted": deleted or None, "SpaceReclaimed": reclaimed})


ROUTES = [
    Route("GET", "/volumes", list_volumes),
    Route("POST", "/volumes/create", create),
    Route("POST", "/volumes/prune", prune),
    Route("GET", "/volumes/{name}", inspect),
    Route("DELETE", "/volumes/{name}", remove),
]
