"""Images, all that can be done with them on one machine: the store, registries and archives behind one name."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from shoal.engine.image_archive import Archives
from shoal.engine.image_pull import Progress, Puller, silent
from shoal.engine.image_push import Pusher
from shoal.engine.image_store import ImageStore, Report
from shoal.engine.layers import LayerStore, chain_ids
from shoal.engine.process import in_thread
from shoal.engine.registries import Registries
from shoal.kit.clock import Clock, nanoseconds
from shoal.model import reference as references
from shoal.model.engine import AuthConfig, Image

Layers = list[dict[str, Any]]


class Images:
    """The images below `root`. Set `store.users` to tell which containers use which image."""

    def __init__(
        self, root: Path, clock: Clock, insecure_registries: Sequence[str] = (), mirrors: Sequence[str] = ()
    ) -> None:
        self.store = ImageStore(root, clock)
        registries = Registries(tuple(insecure_registries), tuple(mirrors))
        self._puller = Puller(self.store, registries)
        self._pusher = Pusher(self.store, registries)
        self._archives = Archives(self.store)

    @property
    def layers(self) -> LayerStore:
        """The extracted layers: what containers are stacked on."""
        return self.store.layers

    def list(self) -> list[Image]:
        """Every image, newest first."""
        return self.store.list()

    def find(self, wanted: str) -> Image:
        """By id, beginning of an id, or name. Raises NotFound `No such image: x`."""
        return self.store.find(wanted)

    async def pull(
        self, name: str, auth: AuthConfig | None = None, progress: Progress = silent, *, platform: str = ""
    ) -> Image:
        """See `image_pull.Puller.pull`."""
        return await self._puller.pull(name, auth, progress, platform=platform)

    async def push(self, name: str, auth: AuthConfig | None = None, progress: Progress = silent) -> None:
        """See `image_push.Pusher.push`."""
        await self._pusher.push(name, auth, progress)

    async def resolve(self, name: str, auth: AuthConfig | None) -> tuple[str, str, int, Layers]:
        """Digest, media type, size and platforms of a name in its registry."""
        return await self._puller.resolve(name, auth)

    async def registry_login(self, auth: AuthConfig) -> str:
        """Check credentials; returns docker's "Login Succeeded". Raises Unauthenticated."""
        return await self._puller.login(auth)

    async def tag(self, source: str, target: str) -> None:
        """One more name for an image. Raises NotFound, InvalidArgument."""
        self.store.tag(source, references.parse(target, default_tag=True))

    async def remove(self, wanted: str, force: bool = False) -> Report:
        """See `image_store.ImageStore.remove`."""
        report = self.store.remove(wanted, force=force)
        await in_thread(self.layers.trash.empty)
        return report

    async def import_(
        self, stream: AsyncIterator[bytes], name: str = "", changes: Sequence[str] = (), message: str = ""
    ) -> Image:
        """See `image_archive.Archives.import_`."""
        return await self._archives.import_(stream, name, changes, message)

    async def load(self, stream: AsyncIterator[bytes], progress: Progress = silent) -> Sequence[Image]:
        """See `image_archive.Archives.load`."""
        return await self._archives.load(stream, progress)

    def save(self, names: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """See `image_archive.Archives.save`."""
        return self._archives.save(names)

    def history(self, name: str) -> Layers:
        """How an image came about, newest step first, with docker's keys."""
        image = self.find(name)
        sizes = iter([self.layers.size(chain) for chain in chain_ids(image.layers)])
        rows: Layers = []
        for step in image.history:
            rows.insert(
                0,
                {
                    "Id": "<missing>",
                    "Created": _unix(step.get("created")),
                    "CreatedBy": step.get("created_by", ""),
                    "Tags": None,
                    "Size": 0 if step.get("empty_layer") else next(sizes, 0),
                    "Comment": step.get("comment", ""),
                },
            )
        if rows:
            rows[0].update(Id=image.id, Tags=image.repo_tags or None)
        return rows

    async def prune(
        self, *, dangling_only: bool = True, keep: Callable[[Image], bool] = lambda _: False
    ) -> tuple[Report, int]:
        """See `image_store.ImageStore.prune`."""
        report = self.store.prune(dangling_only=dangling_only, keep=keep)
        await in_thread(self.layers.trash.empty)
        return report


def _unix(moment: object) -> int:
    """An RFC 3339 text as whole seconds since 1970; 0 for anything else."""
    try:
        return nanoseconds(msgspec.convert(moment, datetime, strict=False)) // 10**9
    except msgspec.ValidationError:
        return 0
