"""GET /distribution/{name}/json: what a registry says of an image, so that a service can be pinned to a digest."""

from __future__ import annotations

from aiohttp import web

from shoal.api.call import Call, answer
from shoal.api.routing import Route


async def inspect(call: Call) -> web.Response:
    """Digest, media type, size and platforms of an image in its registry."""
    digest, media_type, size, platforms = await call.context.engine.images.resolve(
        call.params["name"], call.registry_auth()
    )
    return answer({"Descriptor": {"mediaType": media_type, "digest": digest, "size": size}, "Platforms": platforms})


ROUTES = [Route("GET", "/distribution/{name*}/json", inspect)]
