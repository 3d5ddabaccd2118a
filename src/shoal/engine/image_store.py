"""The images of this machine: what is here under which names, and what may be removed.

`<root>/images/<hex>.json` is one image with where its layers come from, `<root>/references.json` the names. Both are
written whole to a new file and renamed, so a crash leaves the old or the new.
"""

from __future__ import annotations

import platform
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from msgspec.structs import replace

from shoal.engine.blobs import BlobStore
from shoal.engine.layers import LayerStore, chain_ids
from shoal.engine.manifest import Descriptor
from shoal.engine.process import in_thread
from shoal.kit.clock import Clock
from shoal.kit.files import write_atomic
from shoal.model import reference as references
from shoal.model.base import Struct, decode, encode
from shoal.model.engine import Image
from shoal.model.errors import Conflict, InvalidArgument, NotFound
from shoal.model.reference import Reference, familiar

Report = list[dict[str, str]]
"""What a removal did, in docker's form: `{"Untagged": name}` and `{"Deleted": id}`."""

Names = list[str]


class StoredImage(Struct, frozen=True):
    """An image, the blob of its manifest, and the blobs of its layers (lowest first)."""

    image: Image
    manifest: str
    manifest_type: str
    layers: list[Descriptor]


class User(Struct, frozen=True):
    """A container that uses an image."""

    container_id: str
    image_id: str
    running: bool = False


class ImageStore:
    """The local image store. `images.Images` puts pull, push and archives on top of it."""

    def __init__(self, root: Path, clock: Clock, users: Callable[[], Iterable[User]] = tuple) -> None:
        self._folder = root / "images"
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._names_file = root / "references.json"
        self.blobs = BlobStore(root / "blobs")
        self.layers = LayerStore(root / "layers")
        self.clock = clock
        self.users = users
        self._stored = {s.image.id: s for s in map(_load, sorted(self._folder.glob("*.json")))}
        self._adding = 0
        self._sweep_due = False
        self._names: dict[str, str] = {}
        if self._names_file.exists():
            names = decode(self._names_file.read_bytes(), dict[str, str])
            self._names = {name: id for name, id in names.items() if id in self._stored}
        self.sweep()  # a daemon that was killed may have left layers of no image

    # --- reading ---

    def list(self) -> list[Image]:
        """Every image, newest first."""
        return sorted((self._named(id) for id in self._stored), key=lambda image: image.created, reverse=True)

    def has(self, id: str) -> bool:
        """Whether the image with this id is here."""
        return id in self._stored

    def find(self, wanted: str) -> Image:
        """The image that `wanted` names: id, `sha256:` id, unique beginning of one, or a reference.

        Raises NotFound `No such image: x`.
        """
        return self._named(self._find_id(wanted))

    def stored(self, wanted: str) -> StoredImage:
        """The same with the blobs that it consists of."""
        return self._stored[self._find_id(wanted)]

    def _find_id(self, wanted: str) -> str:
        if wanted.startswith("sha256:") and wanted in self._stored:
            return wanted
        try:
            name = str(references.parse(wanted, default_tag=True))
        except InvalidArgument:
            name = ""
        if name in self._names:
            return self._names[name]
        if "@" in name and (pinned := self._pinned(references.parse(name))):
            return pinned
        prefix = wanted.removeprefix("sha256:")
        matches = [id for id in self._stored if prefix and id.startswith(f"sha256:{prefix}")]
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise InvalidArgument(f"ambiguous reference: {wanted}")
        shown = familiar(references.parse(name)) if name else wanted
        raise NotFound(f"No such image: {shown}")

    def _pinned(self, reference: Reference) -> str | None:
        """`name:tag@digest`: the digest alone decides."""
        return self._names.get(str(replace(reference, tag="")))

    def _named(self, id: str) -> Image:
        """The image with its present names; an unnamed one keeps the names that only have a digest."""
        names = [references.parse(name) for name, target in sorted(self._names.items()) if target == id]
        return replace(
            self._stored[id].image,
            repo_tags=[familiar(name) for name in names if name.tag],
            repo_digests=[familiar(name) for name in names if name.digest],
        )

    def tag_of(self, wanted: str) -> Reference | None:
        """The tag by which `wanted` names an image here; None when it is an id or a digest."""
        name = self._name_in_use(wanted)
        reference = references.parse(name) if name else None
        return reference if reference and reference.tag else None

    # --- writing ---

    def add(self, stored: StoredImage, *names: Reference) -> Image:
        """Keep an image whose blobs and layers are here, under `names`."""
        now = self.clock.now()
        self._stored[stored.image.id] = stored = replace(stored, image=replace(stored.image, last_tagged=now))
        write_atomic(self._folder / f"{stored.image.id.removeprefix('sha256:')}.json", encode(stored))
        for name in names:
            self._names[str(name)] = stored.image.id
        self._save_names()
        return self._named(stored.image.id)

    def tag(self, source: str, target: Reference) -> None:
        """Give the image called `source` one more name. Raises NotFound, or InvalidArgument for a digest."""
        if target.digest:
            raise InvalidArgument("refusing to create a tag with a digest reference")
        self.add(self.stored(source), target)

    def remove(self, wanted: str, *, force: bool = False) -> Report:
        """Take away a name; with the last one, the image. Returns docker's list of Untagged and Deleted.

        Raises NotFound, and Conflict when containers use the image (a running one not even with `force`).
        """
        id = self._find_id(wanted)
        name = self._name_in_use(wanted)
        others = [n for n, target in self._names.items() if target == id and n != name]
        tags = [n for n in others if references.parse(n).tag]
        if name and tags:
            self._drop(name)
            return [{"Untagged": familiar(references.parse(name))}]
        if not name and len({references.parse(n).repository for n in tags}) > 1 and not force:
            raise Conflict(
                f"conflict: unable to delete {_short(id)} (must be forced) - "
                "image is referenced in multiple repositories"
            )
        self._check_unused(id, name, force)
        gone = [n for n, target in sorted(self._names.items()) if target == id]
        for n in gone:
            del self._names[n]
        self._save_names()
        untagged = [{"Untagged": familiar(references.parse(n))} for n in gone]
        if any(user.image_id == id for user in self.users()):
            return untagged  # forced: the stopped container keeps the nameless image
        self._forget(id)
        return [*untagged, {"Deleted": id}, *({"Deleted": layer} for layer in self.sweep()[0])]

    def prune(self, *, dangling_only: bool, keep: Callable[[Image], bool]) -> tuple[Report, int]:
        """Remove images that no container uses and `keep` does not want; returns the list and the bytes freed."""
        used = {user.image_id for user in self.users()}
        report: Report = []
        for image in self.list():
            if image.id in used or keep(image) or (dangling_only and image.repo_tags):
                continue
            for name in [n for n, target in self._names.items() if target == image.id]:
                del self._names[name]
                report.append({"Untagged": familiar(references.parse(name))})
            self._forget(image.id)
            report.append({"Deleted": image.id})
        self._save_names()
        layers, freed = self.sweep()
        return report + [{"Deleted": layer} for layer in layers], freed

    @asynccontextmanager
    async def adding(self, *, resumable: bool = False) -> AsyncIterator[None]:
        """A scope in which blobs and layers may be here that belong to no image yet: nothing is swept meanwhile.

        What a failure leaves is swept at its end, unless it is `resumable`: then the next attempt begins with it.
        """
        self._adding += 1
        try:
            yield
        except BaseException:
            self._sweep_due |= not resumable
            raise
        finally:
            self._adding -= 1
            if not self._adding and self._sweep_due:
                self.sweep()
                await in_thread(self.layers.trash.empty)

    def give_up(self, layers: Iterable[Descriptor]) -> None:
        """Within `adding`: what has arrived of `layers` makes room at its end, instead of being kept to be resumed."""
        for layer in layers:
            self.blobs.partial(layer.digest).unlink(missing_ok=True)
        self._sweep_due = True

    def sweep(self) -> tuple[Names, int]:
        """Remove layers and blobs that no image has; returns the layers' chain ids and the bytes freed.

        While an image is being added this is put off, and returns nothing. The layers' trash is left to be emptied.
        """
        self._sweep_due = self._adding > 0
        if self._sweep_due:
            return [], 0
        images = list(self._stored.values())
        blobs = {digest for s in images for digest in (s.image.id, s.manifest, *(layer.digest for layer in s.layers))}
        layers = {chain for s in images for chain in chain_ids(s.image.layers)}
        gone = self.layers.delete_except(layers)
        return gone, self.blobs.delete_except(blobs)

    def _name_in_use(self, wanted: str) -> str | None:
        try:
            name = str(references.parse(wanted, default_tag=True))
        except InvalidArgument:
            return None
        return name if name in self._names else None

    def _check_unused(self, id: str, name: str | None, force: bool) -> None:
        """Raise Conflict where a container stands in the way: by name force unnames, by id only stopped ones yield."""
        for user in self.users():
            if user.image_id != id or (force and (name or not user.running)):
                continue
            container = user.container_id[:12]
            if name:
                shown = familiar(references.parse(name))
                raise Conflict(
                    f'conflict: unable to remove repository reference "{shown}" (must force) - '
                    f"container {container} is using its referenced image {_short(id)}"
                )
            manner, state = ("cannot", "running") if user.running else ("must", "stopped")
            raise Conflict(
                f"conflict: unable to delete {_short(id)} ({manner} be forced) - "
                f"image is being used by {state} container {container}"
            )

    def _drop(self, name: str) -> None:
        del self._names[name]
        self._save_names()

    def _forget(self, id: str) -> None:
        del self._stored[id]
        (self._folder / f"{id.removeprefix('sha256:')}.json").unlink(missing_ok=True)

    def _save_names(self) -> None:
        write_atomic(self._names_file, encode(self._names))


def machine() -> str:
    """This computer's architecture, as `uname -m` prints it."""
    return platform.machine()


def _short(id: str) -> str:
    return id.removeprefix("sha256:")[:12]


def _load(path: Path) -> StoredImage:
    return decode(path.read_bytes(), StoredImage)
