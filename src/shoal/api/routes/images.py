"""Images: list, inspect, pull, push, tag, remove, and as archives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from aiohttp import web

from shoal.api import announce, present_engine
from shoal.api.call import Call, answer, nothing
from shoal.api.image_filters import LIST_FILTERS, PRUNE_FILTERS, chosen, kept_by
from shoal.api.routing import Route
from shoal.api.stream import Progress, streaming, with_progress
from shoal.model import reference
from shoal.model.errors import InvalidArgument
from shoal.model.filters import truth

_CHUNK = 1 << 20


async def list_images(call: Call) -> web.Response:
    """GET /images/json: newest first."""
    asked = call.filters(LIST_FILTERS)
    rows = chosen(call.context.engine.images.list(), asked, call.context)
    return answer([present_engine.image_summary(row, call.version) for row in rows])


async def inspect(call: Call) -> web.Response:
    """GET /images/{name}/json."""
    image = call.context.engine.images.find(call.params["name"])
    return answer(present_engine.image(image, call.version))


async def history(call: Call) -> web.Response:
    """GET /images/{name}/history."""
    return answer(call.context.engine.images.history(call.params["name"]))


async def create(call: Call) -> web.StreamResponse:
    """POST /images/create: a pull (`fromImage`) or an import of a root file system (`fromSrc`)."""
    if call.query("fromImage"):
        return await _pull(call)
    return await _import(call)


async def _pull(call: Call) -> web.StreamResponse:
    name, tag = call.query("fromImage"), call.query("tag")
    if tag:
        name += f"@{tag}" if ":" in tag else f":{tag}"
    elif not reference.parse(name).tag and not reference.parse(name).digest:
        raise InvalidArgument("pulling all tags of a repository is not supported: name a tag or a digest")
    reference.parse(name)
    auth = call.registry_auth()

    async def work(progress: Progress) -> None:
        await call.context.engine.images.pull(name, auth, progress, platform=call.query("platform"))
        announce.transferred(call, "pull", name)

    return await with_progress(call, work)


async def _import(call: Call) -> web.StreamResponse:
    source = call.query("fromSrc")
    if source != "-":
        raise InvalidArgument(f"cannot import from {source!r}: send the archive itself (fromSrc=-)")
    name, tag = call.query("repo"), call.query("tag")
    if name and tag:
        name = f"{name}:{tag}"
    changes = call.request.query.getall("changes", [])

    async def work(progress: Progress) -> None:
        image = await call.context.engine.images.import_(_upload(call), name, changes, call.query("message"))
        announce.image(call, "import", name or image.id, image)
        progress({"status": image.id})

    return await with_progress(call, work)


def _upload(call: Call) -> AsyncIterator[bytes]:
    return call.request.content.iter_chunked(_CHUNK)


async def push(call: Call) -> web.StreamResponse:
    """POST /images/{name}/push."""
    name = call.params["name"]
    if call.query("tag"):
        name = f"{name}:{call.query('tag')}"
    auth = call.registry_auth()
    reference.parse(name)

    async def work(progress: Progress) -> None:
        await call.context.engine.images.push(name, auth, progress)
        announce.transferred(call, "push", name)

    return await with_progress(call, work)


async def tag(call: Call) -> web.Response:
    """POST /images/{name}/tag."""
    repository, label = call.query("repo"), call.query("tag")
    if not repository:
        raise InvalidArgument("repository name is required")
    name = f"{repository}:{label}" if label else repository
    images = call.context.engine.images
    await images.tag(call.params["name"], name)
    announce.image(call, "tag", reference.familiar(reference.parse(name, default_tag=True)), images.find(name))
    return nothing(201)


async def remove(call: Call) -> web.Response:
    """DELETE /images/{name}."""
    images = call.context.engine.images
    id = images.find(call.params["name"]).id
    report = await images.remove(call.params["name"], force=call.flag("force"))
    announce.removed(call, report, id)
    return answer(report)


async def load(call: Call) -> web.StreamResponse:
    """POST /images/load."""

    async def work(progress: Progress) -> None:
        images = await call.context.engine.images.load(_upload(call), progress)
        if not images:
            raise InvalidArgument("the archive has no images")
        for image in images:
            announce.image(call, "load", image.id, image)

    return await with_progress(call, work)


async def save(call: Call) -> web.StreamResponse:
    """GET /images/get and /images/{name}/get: the images as one archive."""
    asked = [call.params["name"]] if "name" in call.params else _names(call)
    if not asked:
        raise InvalidArgument("names of images are required")
    for name in asked:
        call.context.engine.images.find(name)
    async with aclosing(call.context.engine.images.save(asked)) as chunks:
        first = await anext(chunks)  # until here what goes wrong is an error's answer
        async with streaming(call, "application/x-tar") as stream:
            await stream.write(first)
            async for chunk in chunks:
                await stream.write(chunk)
    return stream.response


def _names(call: Call) -> Sequence[str]:
    given = call.request.query.getall("names", [])
    return [name for entry in given for name in entry.split(",") if name]


async def prune(call: Call) -> web.Response:
    """POST /images/prune: dangling images, or with `dangling=false` all unused ones."""
    asked = call.filters(PRUNE_FILTERS)
    dangling_only = "dangling" not in asked or truth(asked["dangling"][0])
    report, reclaimed = await call.context.engine.images.prune(
        dangling_only=dangling_only, keep=kept_by(asked, call.context.clock.now())
    )
    announce.removed(call, report)
    announce.pruned(call, "image", reclaimed)
    return answer({"ImagesDeleted": list(report) or None, "SpaceReclaimed": reclaimed})


ROUTES = [
    Route("GET", "/images/json", list_images),
    Route("GET", "/images/get", save),
    Route("POST", "/images/create", create, lasting=True),
    Route("POST", "/images/load", load, lasting=True),
    Route("POST", "/images/prune", prune),
    Route("GET", "/images/{name*}/json", inspect),
    Route("GET", "/images/{name*}/history", history),
    Route("GET", "/images/{name*}/get", save),
    Route("POST", "/images/{name*}/push", push, lasting=True),
    Route("POST", "/images/{name*}/tag", tag),
    Route("DELETE", "/images/{name*}", remove),
]
