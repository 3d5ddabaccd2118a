"""Pushing: the layers that the registry lacks, several at once, then the config, then the manifest."""

from __future__ import annotations

import asyncio

from shoal.engine.image_pull import Progress, silent, together
from shoal.engine.image_store import ImageStore
from shoal.engine.manifest import Descriptor, parse_manifest
from shoal.engine.registries import Registries
from shoal.engine.registry import RegistrySession
from shoal.model import reference as references
from shoal.model.engine import AuthConfig
from shoal.model.errors import NotFound
from shoal.model.reference import Reference, familiar

AT_ONCE = 5
"""Layers uploaded side by side, as docker does by default."""


class Pusher:
    """Sends images to registries."""

    def __init__(self, images: ImageStore, registries: Registries) -> None:
        self._images, self._registries = images, registries
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def push(self, name: str, auth: AuthConfig | None = None, progress: Progress = silent) -> None:
        """Push the image called `name`. Raises NotFound when there is none, PermissionDenied when it is refused."""
        reference = references.parse(name, default_tag=True)
        try:
            stored = self._images.stored(str(reference))
        except NotFound:
            repository = familiar(Reference(domain=reference.domain, path=reference.path))
            raise NotFound(f"An image does not exist locally with the tag: {repository}") from None
        data = self._images.blobs.read(stored.manifest)
        manifest = parse_manifest(data)
        progress({"status": f"The push refers to repository [{reference.repository}]"})
        scope = f"repository:{reference.path}:pull,push"
        async with self._registries.session(reference.domain, auth, scope) as session:
            await together(self._blob(session, reference, layer, progress) for layer in manifest.layers)
            await self._blob(session, reference, manifest.config, silent)
            await session.put_manifest(reference, reference.tag, stored.manifest_type, data)
        progress({"status": f"{reference.tag}: digest: {stored.manifest} size: {len(data)}"})
        progress({"progressDetail": {}, "aux": {"Tag": reference.tag, "Digest": stored.manifest, "Size": len(data)}})
        pinned = Reference(domain=reference.domain, path=reference.path, digest=stored.manifest)
        self._images.add(stored, pinned)

    async def _blob(self, session: RegistrySession, reference: Reference, blob: Descriptor, progress: Progress) -> None:
        short = blob.digest.removeprefix("sha256:")[:12]
        progress({"status": "Preparing", "id": short, "progressDetail": {}})
        async with self._slots:
            if await session.has_blob(reference, blob.digest):
                progress({"status": "Layer already exists", "id": short, "progressDetail": {}})
                return

            def sent(count: int) -> None:
                detail = {"current": count, "total": blob.size}
                progress({"status": "Pushing", "id": short, "progressDetail": detail})

            await session.upload(reference, blob.digest, self._images.blobs.path(blob.digest), sent)
            progress({"status": "Pushed", "id": short, "progressDetail": {}})
