"""What other versions of Shoal bring: answered with a sentence, never with a wrong success."""

from __future__ import annotations

from aiohttp import web

from shoal.api.call import Call, answer
from shoal.api.routing import Handler, Route
from shoal.model.errors import NotFound, Unimplemented


async def none(call: Call) -> web.Response:
    """An empty list: there are none of these."""
    return answer([])


async def none_in_swarm(call: Call) -> web.Response:
    """An empty list on managers; elsewhere the error that every swarm request gets."""
    _ = call.context.control
    return answer([])


def unknown_in_swarm(kind: str) -> Handler:
    """404 on managers for any `kind`: there are none."""

    async def handler(call: Call) -> web.Response:
        _ = call.context.control
        raise NotFound(f"{kind} {call.params['id']} not found")

    return handler


def not_offered(what: str, instead: str = "they come in a later version", *, swarm: bool = False) -> Handler:
    """501 with a sentence that names `what`."""

    async def handler(call: Call) -> web.Response:
        if swarm:
            _ = call.context.control
        raise Unimplemented(f"{what} are not supported by this version of Shoal: {instead}")

    return handler


async def no_plugin(call: Call) -> web.Response:
    """404: `docker inspect` asks here last."""
    raise NotFound(f'plugin "{call.params["name"]}" not found')


async def nothing_to_prune(call: Call) -> web.Response:
    """POST /build/prune, which `docker system prune` sends too: there is no build cache."""
    return answer({"CachesDeleted": None, "SpaceReclaimed": 0})


_SECRETS, _CONFIGS = not_offered("secrets", swarm=True), not_offered("configs", swarm=True)
_COPY = not_offered("copies into and out of containers", "use a volume, or `docker exec` with tar")
_BUILD = not_offered("image builds", "build elsewhere, then `docker load`, `docker import` or push to a registry")

ROUTES = [
    Route("GET", "/secrets", none_in_swarm),
    Route("POST", "/secrets/create", _SECRETS),
    Route("GET", "/secrets/{id}", unknown_in_swarm("secret")),
    Route("DELETE", "/secrets/{id}", unknown_in_swarm("secret")),
    Route("POST", "/secrets/{id}/update", unknown_in_swarm("secret")),
    Route("GET", "/configs", none_in_swarm),
    Route("POST", "/configs/create", _CONFIGS),
    Route("GET", "/configs/{id}", unknown_in_swarm("config")),
    Route("DELETE", "/configs/{id}", unknown_in_swarm("config")),
    Route("POST", "/configs/{id}/update", unknown_in_swarm("config")),
    Route("POST", "/build", _BUILD),
    Route("POST", "/build/prune", nothing_to_prune),
    Route("POST", "/session", _BUILD),
    Route("POST", "/grpc", _BUILD),
    Route("GET", "/plugins", none),
    Route("GET", "/plugins/{name*}/json", no_plugin),
    Route("POST", "/commit", not_offered("commits of containers")),
    Route("GET", "/images/search", not_offered("searches of a registry", "use the registry's own page")),
    Route("GET", "/containers/{id}/attach/ws", not_offered("attachments over WebSocket", "use attach")),
    Route("GET", "/containers/{id}/changes", not_offered("lists of a container's changed files")),
    Route("GET", "/containers/{id}/export", not_offered("exports of containers")),
    Route("GET", "/containers/{id}/archive", _COPY),
    Route("HEAD", "/containers/{id}/archive", _COPY),
    Route("PUT", "/containers/{id}/archive", _COPY),
    Route("POST", "/swarm/unlock", not_offered("locked swarms", swarm=False)),
]
