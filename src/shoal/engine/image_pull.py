"""Pulling: name -> manifest -> layers, several at once, checked, continued where a download broke off."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from msgspec.structs import replace

from shoal.engine import manifest as manifests
from shoal.engine.image_store import ImageStore, StoredImage, machine
from shoal.engine.layers import chain_ids
from shoal.engine.manifest import Descriptor, Manifest
from shoal.engine.process import in_thread
from shoal.engine.registries import Registries
from shoal.engine.registry import RegistrySession
from shoal.model import reference as references
from shoal.model.base import decode
from shoal.model.engine import AuthConfig, Image
from shoal.model.errors import ShoalError
from shoal.model.reference import Reference, familiar

log = logging.getLogger("shoal.engine")

T = TypeVar("T")

Progress = Callable[[dict[str, Any]], None]
"""Hears one object of the Engine API's progress stream."""

AT_ONCE = 3
"""Layers downloaded side by side, as docker does by default."""


def silent(_: dict[str, Any]) -> None:
    """A `Progress` for nobody."""


class Puller:
    """Brings images from registries into the local store."""

    def __init__(self, images: ImageStore, registries: Registries) -> None:
        self._images, self._registries = images, registries
        self._locks: dict[str, asyncio.Lock] = {}
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def pull(
        self, name: str, auth: AuthConfig | None = None, progress: Progress = silent, *, platform: str = ""
    ) -> Image:
        """Pull `name` (`redis`, `host:5000/a/b:tag`, `name@sha256:...`); returns the image.

        Raises NotFound (no such name, or no access: docker's words), Unavailable (the registry cannot be reached),
        Unauthenticated, ShoalError for what is damaged or does not fit on the disk.
        """
        reference = references.parse(name, default_tag=True)
        try:
            async with self._images.adding(resumable=True):
                return await self._ask(
                    reference, auth, lambda session: self._pull(session, reference, progress, platform)
                )
        except OSError as fault:
            raise ShoalError(f"failed to pull {familiar(reference)}: {os.strerror(fault.errno or 0)}") from fault

    async def resolve(self, name: str, auth: AuthConfig | None) -> tuple[str, str, int, list[dict[str, str]]]:
        """Digest, media type, size in bytes and platforms of what `name` means in its registry. Raises as `pull`."""
        reference = references.parse(name, default_tag=True)
        return await self._ask(reference, auth, lambda session: self._resolve(session, reference))

    async def _resolve(
        self, session: RegistrySession, reference: Reference
    ) -> tuple[str, str, int, list[dict[str, str]]]:
        digest, media_type, data = await _manifest(session, reference)
        if manifests.is_index(media_type, data):
            entries = decode(data, manifests.Index).manifests
            found = [e.platform for e in entries if e.platform and e.platform.os != "unknown"]
            platforms = [{"architecture": p.architecture, "os": p.os, "variant": p.variant} for p in found]
        else:
            config = manifests.parse_manifest(data).config
            raw = await self._small(session, reference, config)
            image = manifests.image_of(config.digest, raw, 0)
            platforms = [{"architecture": image.architecture, "os": image.os, "variant": image.variant}]
        return digest, media_type, len(data), platforms

    async def _ask(
        self, reference: Reference, auth: AuthConfig | None, question: Callable[[RegistrySession], Awaitable[T]]
    ) -> T:
        """What the first mirror answers that can, else the registry itself."""
        scope = f"repository:{reference.path}:pull"
        for mirror in self._registries.mirrors_of(reference.domain):
            try:
                async with self._registries.session(reference.domain, None, scope, mirror=mirror) as session:
                    return await question(session)
            except ShoalError as fault:
                log.info("the mirror %s does not have %s: %s", mirror, familiar(reference), fault)
        async with self._registries.session(reference.domain, auth, scope) as session:
            return await question(session)

    async def login(self, auth: AuthConfig) -> str:
        """Check credentials against their registry; returns what to tell the user. Raises Unauthenticated."""
        host = auth.serveraddress.removeprefix("https://").removeprefix("http://").split("/")[0]
        domain = "docker.io" if host in ("", "index.docker.io") else host
        async with self._registries.session(domain, auth) as session:
            await session.check()
        return "Login Succeeded"

    async def _pull(self, session: RegistrySession, reference: Reference, progress: Progress, platform: str) -> Image:
        index_digest, media_type, data = await _manifest(session, reference)
        # The first word after the registry's: until then a failure is the request's (docker-py reads nothing else).
        progress({"status": f"Pulling from {reference.path}", "id": reference.tag or reference.digest})
        if manifests.is_index(media_type, data):
            entry = manifests.choose(decode(data, manifests.Index), machine(), platform)
            target = replace(reference, tag="", digest=entry.digest)
            _, media_type, data = await _manifest(session, target)
        manifest = manifests.parse_manifest(data)
        config = await self._small(session, reference, manifest.config)
        image = manifests.image_of(manifest.config.digest, config, 0)
        was_here = self._images.has(image.id)
        await self._layers(session, reference, manifest, image, progress)
        size = sum(self._images.layers.size(chain) for chain in chain_ids(image.layers))
        stored = StoredImage(
            image=replace(image, size=size),
            manifest=self._images.blobs.put(data),
            manifest_type=manifest.media_type or media_type,
            layers=manifest.layers,
        )
        pinned = replace(reference, tag="", digest=index_digest)
        known = self._images.add(stored, *({pinned, replace(reference, digest="")} if reference.tag else {pinned}))
        progress({"status": f"Digest: {index_digest}"})
        fresh = "Image is up to date" if was_here else "Downloaded newer image"
        progress({"status": f"Status: {fresh} for {familiar(reference)}"})
        return known

    async def _layers(
        self, session: RegistrySession, reference: Reference, manifest: Manifest, image: Image, progress: Progress
    ) -> None:
        """Download what is missing, and unpack each layer as soon as it and all below it are here."""
        if len(manifest.layers) != len(image.layers):
            raise ShoalError("invalid manifest: layers and rootfs.diff_ids differ in number")
        chains = chain_ids(image.layers)
        unpacked = [asyncio.Event() for _ in chains]

        async def one(position: int, layer: Descriptor) -> None:
            short = layer.digest.removeprefix("sha256:")[:12]
            here = self._images.layers.has(chains[position]) and self._images.blobs.has(layer.digest)
            if not here:
                progress({"status": "Pulling fs layer", "id": short})
                await self._download(session, reference, layer, short, progress)
            if position:
                await unpacked[position - 1].wait()
            if not here:
                progress({"status": "Extracting", "id": short, "progressDetail": {}})
                blob = self._images.blobs.path(layer.digest)
                await self._images.layers.extract(chains[position], blob, image.layers[position])
            progress({"status": "Already exists" if here else "Pull complete", "id": short})
            unpacked[position].set()

        try:
            await together(one(position, layer) for position, layer in enumerate(manifest.layers))
        except (OSError, ShoalError) as fault:
            if os.strerror(errno.ENOSPC) in str(fault):  # in these words, from wherever
                self._images.give_up(manifest.layers)
            raise

    async def _download(
        self, session: RegistrySession, reference: Reference, layer: Descriptor, short: str, progress: Progress
    ) -> None:
        blobs = self._images.blobs
        async with self._locks.setdefault(layer.digest, asyncio.Lock()), self._slots:
            if blobs.has(layer.digest):
                return

            def seen(count: int) -> None:
                detail = {"current": count, "total": layer.size}
                progress({"status": "Downloading", "id": short, "progressDetail": detail})

            partial = blobs.partial(layer.digest)
            await session.fetch(reference, layer.digest, partial, seen)
            progress({"status": "Verifying Checksum", "id": short})
            await in_thread(blobs.adopt, partial, layer.digest)
            progress({"status": "Download complete", "id": short})
        self._locks.pop(layer.digest, None)

    async def _small(self, session: RegistrySession, reference: Reference, blob: Descriptor) -> bytes:
        """A config: downloaded into the blob store unless it is here."""
        blobs = self._images.blobs
        async with self._locks.setdefault(blob.digest, asyncio.Lock()):
            if not blobs.has(blob.digest):
                partial = blobs.partial(blob.digest)
                await session.fetch(reference, blob.digest, partial, lambda _: None)
                await in_thread(blobs.adopt, partial, blob.digest)
        self._locks.pop(blob.digest, None)
        return blobs.read(blob.digest)


async def together(coroutines: Any) -> None:
    """Run all; the first failure cancels the others and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _manifest(session: RegistrySession, reference: Reference) -> tuple[str, str, bytes]:
    """The manifest that `reference` names; one asked for by digest must have it."""
    _, media_type, data = await session.manifest(reference, reference.digest or reference.tag)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if reference.digest not in ("", digest):
        raise ShoalError(f"manifest verification failed for digest {reference.digest}")
    return digest, media_type, data
