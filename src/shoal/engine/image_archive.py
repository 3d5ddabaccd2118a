"""Images from and to files: `docker import`, `load` and `save`.

`load` reads what `docker save` writes, of any age: an OCI layout or docker's `manifest.json` with layer tars.
`save` writes both in one archive. Archives come from outside: members are read by name, never by what a link says.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
import tarfile
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from shoal.engine import manifest as manifests
from shoal.engine.blobs import CHUNK
from shoal.engine.failures import system_text
from shoal.engine.image_changes import apply_changes
from shoal.engine.image_pull import Progress, silent
from shoal.engine.image_store import ImageStore, StoredImage, machine
from shoal.engine.layers import chain_ids, decompress
from shoal.engine.manifest import Descriptor
from shoal.engine.process import in_thread
from shoal.model import reference as references
from shoal.model.base import Struct, decode, encode
from shoal.model.container import ContainerConfig
from shoal.model.engine import Image
from shoal.model.errors import InvalidArgument, ShoalError
from shoal.model.reference import Reference, familiar


class _Entry(Struct, frozen=True):
    """One image in docker's `manifest.json`."""

    config: str = ""
    repo_tags: list[str] = []
    layers: list[str] = []


class Archives:
    """Brings images from files into the store, and back."""

    def __init__(self, images: ImageStore) -> None:
        self._images = images

    async def import_(
        self, stream: AsyncIterator[bytes], name: str = "", changes: Sequence[str] = (), message: str = ""
    ) -> Image:
        """One image of one layer from the tar of a root file system, which may be compressed.

        `changes` are Dockerfile lines (CMD, ENV, EXPOSE, ...). Raises InvalidArgument for those, ShoalError for a
        damaged archive.
        """
        config = apply_changes(ContainerConfig(), changes)
        target = [references.parse(name, default_tag=True)] if name else []
        with self._images.blobs.scratch() as spool:
            await _write(stream, spool)
            async with self._images.adding():
                layer, diff_id = await self._layer(spool)
                comment = message or "Imported from -"
                data = manifests.make_config(config, [diff_id], machine(), self._images.clock.now(), comment)
                return await self._keep(data, [layer], target)

    async def load(self, stream: AsyncIterator[bytes], progress: Progress = silent) -> list[Image]:
        """Every image in an archive that `save` wrote. Raises InvalidArgument when it is none."""
        with self._images.blobs.scratch() as spool:
            await _write(stream, spool)
            async with self._images.adding():
                with await in_thread(_open, spool) as archive:
                    entries = decode(await in_thread(_member, archive, "manifest.json"), list[_Entry])
                    return [await self._load_one(archive, entry, progress) for entry in entries]

    async def save(self, names: Sequence[str]) -> AsyncGenerator[bytes, None]:
        """The archive of the images called `names`, in chunks. Raises NotFound, or ShoalError for a full disk, before
        the first."""
        chosen = [(self._images.tag_of(name), self._images.stored(name)) for name in names]
        async with self._images.adding():
            with self._images.blobs.scratch() as spool, spool.open("r+b") as file:
                try:
                    await in_thread(self._write_archive, file, chosen)
                except OSError as fault:
                    raise ShoalError(system_text(fault)) from fault
                file.seek(0)
                while chunk := await in_thread(file.read, CHUNK):
                    yield chunk

    # --- in ---

    async def _layer(self, spool: Path) -> tuple[Descriptor, str]:
        """Turn a tar (compressed or not) into a gzipped layer blob; returns it and its diff id."""
        with self._images.blobs.scratch() as packed:
            diff_id = await in_thread(_compress, spool, packed)
            digest = await in_thread(_digest_of, packed)
            size = packed.stat().st_size
            await in_thread(self._images.blobs.adopt, packed, digest)
        return Descriptor(media_type=manifests.DOCKER_LAYER, digest=digest, size=size), diff_id

    async def _load_one(self, archive: tarfile.TarFile, entry: _Entry, progress: Progress) -> Image:
        config = await in_thread(_member, archive, entry.config)
        layers = []
        for name in entry.layers:
            with self._images.blobs.scratch() as spool:
                await in_thread(_extract_member, archive, name, spool)
                layers.append((await self._layer(spool))[0])
        names = [references.parse(tag, default_tag=True) for tag in entry.repo_tags]
        image = await self._keep(config, layers, names)
        for reference in names:
            progress({"stream": f"Loaded image: {familiar(reference)}\n"})
        if not names:
            progress({"stream": f"Loaded image ID: {image.id}\n"})
        return image

    async def _keep(self, config: bytes, layers: list[Descriptor], names: list[Reference]) -> Image:
        """An image from its config and layer blobs: unpack, make the manifest, name it."""
        digest = self._images.blobs.put(config)
        image = manifests.image_of(digest, config, 0)
        if len(image.layers) != len(layers):
            raise InvalidArgument("invalid manifest, layers length mismatch")
        for chain, layer, diff_id in zip(chain_ids(image.layers), layers, image.layers, strict=True):
            await self._images.layers.extract(chain, self._images.blobs.path(layer.digest), diff_id)
        described = Descriptor(media_type=manifests.DOCKER_CONFIG, digest=digest, size=len(config))
        size = sum(self._images.layers.size(chain) for chain in chain_ids(image.layers))
        stored = StoredImage(
            image=replace(image, size=size),
            manifest=self._images.blobs.put(manifests.make_manifest(described, layers)),
            manifest_type=manifests.DOCKER_MANIFEST,
            layers=layers,
        )
        return self._images.add(stored, *names)

    # --- out ---

    def _write_archive(self, file: Any, chosen: list[tuple[Reference | None, StoredImage]]) -> None:
        blobs = self._images.blobs
        with tarfile.open(fileobj=file, mode="w") as archive:
            written: set[str] = set()
            for _, stored in chosen:
                for digest in (stored.image.id, stored.manifest, *(layer.digest for layer in stored.layers)):
                    if digest not in written:
                        archive.add(blobs.path(digest), _blob_name(digest), recursive=False, filter=_anonymous)
                        written.add(digest)
            index = [_index_entry(tag, stored, blobs.size(stored.manifest)) for tag, stored in chosen]
            layout = {"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": index}
            _add(archive, "index.json", encode(layout))
            _add(archive, "oci-layout", encode({"imageLayoutVersion": "1.0.0"}))
            _add(archive, "manifest.json", encode([_docker_entry(tag, stored) for tag, stored in chosen]))


def _index_entry(tag: Reference | None, stored: StoredImage, size: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"mediaType": stored.manifest_type, "digest": stored.manifest, "size": size}
    if tag:
        entry["annotations"] = {"io.containerd.image.name": str(tag), "org.opencontainers.image.ref.name": tag.tag}
    return entry


def _docker_entry(tag: Reference | None, stored: StoredImage) -> dict[str, Any]:
    return {
        "Config": _blob_name(stored.image.id),
        "RepoTags": [familiar(tag)] if tag else None,
        "Layers": [_blob_name(layer.digest) for layer in stored.layers],
    }


def _blob_name(digest: str) -> str:
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime, member.mode = 0, 0o644
    return member


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    archive.addfile(member, io.BytesIO(data))


async def _write(stream: AsyncIterator[bytes], target: Path) -> None:
    with target.open("wb") as file:
        async for chunk in stream:
            await in_thread(file.write, chunk)


def _open(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path)
    except tarfile.TarError as fault:
        raise InvalidArgument(f"invalid tar header: {fault}") from fault


def _open_member(archive: tarfile.TarFile, name: str) -> Any:
    try:
        member = archive.getmember(name)
        if member.issym() or member.islnk():  # docker's old archives link equal layers to the first of them
            folder = name.rpartition("/")[0]
            member = archive.getmember(str(Path(folder, member.linkname)).replace(f"{folder}/../", ""))
        file = archive.extractfile(member)
    except KeyError as fault:
        raise InvalidArgument(f"invalid archive: no {name} in it") from fault
    except (tarfile.TarError, EOFError, zlib.error) as fault:  # looking for the first member reads all headers
        raise InvalidArgument(f"invalid tar header: {fault}") from fault
    if file is None:
        raise InvalidArgument(f"invalid archive: {name} is not a file")
    return file


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    with _open_member(archive, name) as file:
        return bytes(file.read(16 << 20))


def _extract_member(archive: tarfile.TarFile, name: str, target: Path) -> None:
    with _open_member(archive, name) as source, target.open("wb") as file:
        shutil.copyfileobj(source, file, CHUNK)


def _compress(spool: Path, packed: Path) -> str:
    """Make `packed` the gzip file of what is in `spool`; returns the digest of that."""
    digest = hashlib.sha256()
    try:
        # mtime=0: the same files always make the same layer
        with spool.open("rb") as source, gzip.GzipFile(packed, "wb", compresslevel=5, mtime=0) as target:
            for chunk in decompress(source):
                digest.update(chunk)
                target.write(chunk)
    except OSError as fault:
        raise ShoalError(f"write {packed.name}: {fault.strerror}") from fault
    return f"sha256:{digest.hexdigest()}"


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
