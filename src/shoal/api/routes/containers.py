"""Containers: everything that is answered at once. What stays open is in `containers_streams`."""

from __future__ import annotations

from aiohttp import web
from msgspec.structs import replace

from shoal.api import announce, present_container, swarm_networks
from shoal.api.call import Call, answer, nothing
from shoal.api.container_filters import ALLOWED, chosen
from shoal.api.routing import Route
from shoal.model.container import Container, ContainerConfig, CreateContainer, HostConfig, NetworkingConfig
from shoal.model.errors import InvalidArgument, NotFound


async def list_containers(call: Call) -> web.Response:
    """GET /containers/json: newest first; running ones only, unless `all` or a filter asks for others."""
    asked = call.filters(ALLOWED)
    everything = call.context.engine.containers.list()
    everything.sort(key=lambda container: container.created, reverse=True)
    rows = chosen(everything, asked, call.context, running_only=not call.flag("all"))
    limit = call.number("limit")
    if limit is not None and limit > 0:
        rows = chosen(everything, asked, call.context, running_only=False)[:limit]
    now = call.context.clock.now()
    shown = [present_container.summary(row, image_shown(call, row), now, call.version) for row in rows]
    if call.flag("size"):
        for row in shown:
            row.update(await sizes(call, row["Id"], row["ImageID"]))
    return answer(shown)


async def sizes(call: Call, id: str, image_id: str) -> dict[str, int]:
    """What a container wrote, and that with its image, in bytes."""
    written = await call.context.engine.containers.size(id)
    try:
        image = call.context.engine.images.find(image_id).size
    except NotFound:
        image = 0
    return {"SizeRw": written, "SizeRootFs": written + image}


def image_shown(call: Call, container: Container) -> str:
    """The image's name as it was given, or its id when that name now means another image."""
    name = container.config.image
    try:
        if call.context.engine.images.find(name).id == container.image_id:
            return name
    except (NotFound, InvalidArgument):
        pass
    return container.image_id


async def create(call: Call) -> web.Response:
    """POST /containers/create."""
    asked = await call.body(CreateContainer)
    host, networking = _resolved(call, asked.host_config, asked.networking_config)
    swarm_networks.refuse_overlays(call, {host.network_mode, *networking.endpoints_config})
    name = call.query("name").removeprefix("/")
    containers = call.context.engine.containers
    container = await containers.create(name, _plain_config(asked), host, networking)
    return answer({"Id": container.id, "Warnings": _warnings(host)}, 201)


def _resolved(call: Call, host: HostConfig, networking: NetworkingConfig) -> tuple[HostConfig, NetworkingConfig]:
    """The network that clients call `default`, or do not name, is the bridge; `container:name` becomes its id."""
    endpoints = {("bridge" if name == "default" else name): e for name, e in networking.endpoints_config.items()}
    mode = host.network_mode
    if mode in ("", "default"):
        mode = next(iter(endpoints), "bridge")
    elif mode.startswith("container:"):
        mode = f"container:{call.context.engine.containers.find(mode.removeprefix('container:')).id}"
    return replace(host, network_mode=mode), replace(networking, endpoints_config=endpoints)


def _plain_config(asked: CreateContainer) -> ContainerConfig:
    fields = ContainerConfig.__struct_fields__
    return ContainerConfig(**{name: getattr(asked, name) for name in fields})


def _warnings(asked: HostConfig) -> list[str]:
    warnings = []
    if asked.network_mode == "host" and (asked.port_bindings or asked.publish_all_ports):
        warnings.append("Published ports are discarded when using host network mode")
    return warnings


async def inspect(call: Call) -> web.Response:
    """GET /containers/{id}/json."""
    engine = call.context.engine
    container = engine.containers.find(call.params["id"])
    places = present_container.Places(engine.containers.folder(container.id), engine.options.exec_root / "netns")
    shown = present_container.inspect(container, call.version, places)
    shown["ExecIDs"] = engine.containers.exec_ids(container.id) or None
    if call.flag("size"):
        shown.update(await sizes(call, container.id, container.image_id))
    return answer(shown)


async def start(call: Call) -> web.Response:
    """POST /containers/{id}/start."""
    await call.context.engine.containers.start(call.params["id"])
    return nothing()


async def stop(call: Call) -> web.Response:
    """POST /containers/{id}/stop."""
    await call.context.engine.containers.stop(
        call.params["id"], timeout=call.number("t"), signal=call.query("signal") or None
    )
    return nothing()


async def restart(call: Call) -> web.Response:
    """POST /containers/{id}/restart."""
    await call.context.engine.containers.restart(
        call.params["id"], timeout=call.number("t"), signal=call.query("signal") or None
    )
    return nothing()


async def kill(call: Call) -> web.Response:
    """POST /containers/{id}/kill."""
    await call.context.engine.containers.kill(call.params["id"], call.query("signal") or "SIGKILL")
    return nothing()


async def pause(call: Call) -> web.Response:
    """POST /containers/{id}/pause."""
    await call.context.engine.containers.pause(call.params["id"])
    return nothing()


async def unpause(call: Call) -> web.Response:
    """POST /containers/{id}/unpause."""
    await call.context.engine.containers.unpause(call.params["id"])
    return nothing()


async def rename(call: Call) -> web.Response:
    """POST /containers/{id}/rename."""
    name = call.query("name").removeprefix("/")
    if not name:
        raise InvalidArgument("Neither old nor new names may be empty")
    await call.context.engine.containers.rename(call.params["id"], name)
    return nothing()


async def remove(call: Call) -> web.Response:
    """DELETE /containers/{id}."""
    if call.flag("link"):
        raise InvalidArgument("links between containers are not supported: use a network")
    await call.context.engine.containers.remove(call.params["id"], force=call.flag("force"), volumes=call.flag("v"))
    return nothing()


async def resize(call: Call) -> web.Response:
    """POST /containers/{id}/resize."""
    await call.context.engine.containers.resize(call.params["id"], *terminal_size(call))
    return nothing(200)


def terminal_size(call: Call) -> tuple[int, int]:
    """The `h` and `w` of a resize."""
    height, width = call.number("h"), call.number("w")
    if height is None or width is None or not (0 <= height < 2**16 and 0 <= width < 2**16):
        raise InvalidArgument("invalid resize height or width")
    return height, width


async def top(call: Call) -> web.Response:
    """GET /containers/{id}/top."""
    titles, processes = await call.context.engine.containers.top(call.params["id"], call.query("ps_args") or "-ef")
    return answer({"Titles": titles, "Processes": processes})


async def update(call: Call) -> web.Response:
    """POST /containers/{id}/update: limits and the restart policy; only what the body names changes."""
    warnings = await call.context.engine.containers.update(call.params["id"], await call.body(HostConfig))
    return answer({"Warnings": warnings or None})


async def prune(call: Call) -> web.Response:
    """POST /containers/prune."""
    asked = call.filters(("until", "label", "label!"))
    deleted, reclaimed = await call.context.engine.containers.prune(asked)
    announce.pruned(call, "container", reclaimed)
    return answer({"ContainersDeleted": deleted or None, "SpaceReclaimed": reclaimed})


ROUTES = [
    Route("GET", "/containers/json", list_containers),
    Route("POST", "/containers/create", create),
    Route("POST", "/containers/prune", prune),
    Route("GET", "/containers/{id}/json", inspect),
    Route("GET", "/containers/{id}/top", top),
    Route("POST", "/containers/{id}/start", start),
    Route("POST", "/containers/{id}/stop", stop),
    Route("POST", "/containers/{id}/restart", restart),
    Route("POST", "/containers/{id}/kill", kill),
    Route("POST", "/containers/{id}/pause", pause),
    Route("POST", "/containers/{id}/unpause", unpause),
    Route("POST", "/containers/{id}/rename", rename),
    Route("POST", "/containers/{id}/resize", resize),
    Route("POST", "/containers/{id}/update", update),
    Route("DELETE", "/containers/{id}", remove),
]
