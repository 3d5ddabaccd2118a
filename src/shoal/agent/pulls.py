"""Images for tasks: one download for all tasks that want the same, and no waiting for a registry that is away."""

from __future__ import annotations

import asyncio
import base64
from typing import Protocol

from shoal.model.base import decode
from shoal.model.engine import AuthConfig, Image
from shoal.model.errors import NotFound, ShoalError
from shoal.model.reference import parse

ASK = 3.0
"""Seconds that a registry has to say what a tag is, when the image is here already."""
AWAY = 60.0
"""Seconds for which a registry that did not answer is not asked again about images that are here."""


class Puller(Protocol):
    """What is needed of `engine.images`."""

    def find(self, wanted: str) -> Image: ...

    async def pull(self, name: str, auth: AuthConfig | None = None) -> Image: ...

    async def resolve(self, name: str, auth: AuthConfig | None) -> tuple[str, str, int, object]: ...


class Pulls:
    """Gets images. As in docker a tag is looked up again for each task, so that it can move; a digest cannot."""

    def __init__(self, images: Puller) -> None:
        self._images = images
        self._locks: dict[str, asyncio.Lock] = {}
        self._fresh: dict[str, float] = {}
        self._away: dict[str, float] = {}

    async def get(self, name: str, registry_auth: str) -> None:
        """Have the image here, as new as the registry can tell. Raises NotFound `No such image: x` when there is no
        way to get it; the registry's own error when it refuses and the image is not here."""
        local = self._local(name)
        if local is not None and ("@" in name or local.id.removeprefix("sha256:").startswith(name)):
            return
        lock = self._locks.setdefault(name, asyncio.Lock())
        began = asyncio.get_running_loop().time()
        async with lock:
            if self._fresh.get(name, -1.0) >= began:
                return
            await self._get(name, registry_auth)
            self._fresh[name] = asyncio.get_running_loop().time()

    async def _get(self, name: str, registry_auth: str) -> None:
        auth = parse_auth(registry_auth)
        local = self._local(name)
        if local is None:
            await self._images.pull(name, auth)
        elif await self._is_stale(name, local, auth):
            try:
                await self._images.pull(name, auth)
            except (ShoalError, OSError):
                pass  # as in docker, the image that is here will do

    async def _is_stale(self, name: str, local: Image, auth: AuthConfig | None) -> bool:
        now = asyncio.get_running_loop().time()
        domain = parse(name, default_tag=True).domain
        if now < self._away.get(domain, now):
            return False
        try:
            async with asyncio.timeout(ASK):
                digest = (await self._images.resolve(name, auth))[0]
        except (ShoalError, OSError, TimeoutError):
            self._away[domain] = now + AWAY
            return False
        return all(not known.endswith("@" + digest) for known in local.repo_digests)

    def _local(self, name: str) -> Image | None:
        try:
            return self._images.find(name)
        except NotFound:
            return None


def parse_auth(header: str) -> AuthConfig | None:
    """Credentials from X-Registry-Auth: base64url of JSON. What cannot be read counts as none."""
    if not header:
        return None
    try:
        auth = decode(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)), AuthConfig)
    except (ValueError, ShoalError):
        return None
    return auth if auth != AuthConfig() else None
