"""Extracted layers: one directory per chain of layers, ready to be stacked by overlayfs.

`<root>/<chain id>/diff`. The chain id is the image specification's: the digest of the parent's chain id and the
layer's diff id, so equal beginnings of images share their directories. A directory appears and disappears whole.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from shoal.engine import unpack
from shoal.engine.blobs import CHUNK, HEX, DigestMismatch
from shoal.engine.process import in_thread
from shoal.engine.trash import Trash
from shoal.model.engine import Image
from shoal.model.errors import InvalidArgument, ShoalError


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The chain id of each layer, lowest first (OCI image specification, "Layer ChainID")."""
    chains: list[str] = []
    for diff_id in diff_ids:
        if not chains:
            chains.append(diff_id)
        else:
            text = f"{chains[-1]} {diff_id}"
            chains.append(f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")
    return chains


class LayerStore:
    """Extracted layers by chain id."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._locks: dict[str, asyncio.Lock] = {}
        root.mkdir(parents=True, exist_ok=True, mode=0o711)
        self.trash = Trash(root)
        """Layers that were removed and are still to be deleted."""
        for leftover in root.glob("*.partial"):
            self.trash.throw(leftover)

    def chain(self, image: Image) -> list[Path]:
        """The directories of `image`, lowest layer first."""
        return [self._path(chain) / "diff" for chain in chain_ids(image.layers)]

    def has(self, chain_id: str) -> bool:
        """Whether the layer is extracted."""
        return self._path(chain_id).exists()

    def size(self, chain_id: str) -> int:
        """Bytes of the extracted files, counted once, when the layer was made."""
        return int((self._path(chain_id) / "size").read_text())

    async def extract(self, chain_id: str, blob: Path, diff_id: str) -> None:
        """Unpack the (compressed) tar `blob` as `chain_id`, unless it is here; checks it against `diff_id`.

        Raises DigestMismatch, or ShoalError with the reason (a damaged archive, a full disk).
        """
        async with self._locks.setdefault(chain_id, asyncio.Lock()):
            if not self.has(chain_id):
                await in_thread(self._extract, chain_id, blob, diff_id)
        self._locks.pop(chain_id, None)

    def _extract(self, chain_id: str, blob: Path, diff_id: str) -> None:
        target = self._path(chain_id)
        partial = target.with_name(target.name + ".partial")
        (partial / "diff").mkdir(parents=True)
        try:
            with blob.open("rb") as file:
                digest = feed_unpacker(partial / "diff", decompress(file))
            if digest != diff_id:
                raise DigestMismatch(f"layer verification failed: {digest} is not {diff_id}")
            (partial / "size").write_text(str(tree_size(partial / "diff")))
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise

    def delete_except(self, wanted: Iterable[str]) -> list[str]:
        """Remove every layer that is not wanted; returns their chain ids. Emptying the trash frees the space."""
        keep = {_folder(chain) for chain in wanted}
        gone = [path for path in self._root.iterdir() if HEX.fullmatch(path.name) and path.name not in keep]
        for path in gone:
            self.trash.throw(path)
        return [f"sha256:{path.name}" for path in gone]

    def _path(self, chain_id: str) -> Path:
        return self._root / _folder(chain_id)


def _folder(chain_id: str) -> str:
    value = chain_id.removeprefix("sha256:")
    if not HEX.fullmatch(value):
        raise InvalidArgument(f"invalid checksum digest format: {chain_id}")
    return value


def feed_unpacker(target: Path, chunks: Iterable[bytes]) -> str:
    """Unpack the tar in `chunks` below `target` (see `unpack`); returns the digest of the whole stream."""
    digest = hashlib.sha256()
    command = [sys.executable, "-I", "-S", unpack.__file__, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stderr is not None
        try:
            for chunk in chunks:
                digest.update(chunk)
                child.stdin.write(chunk)
            child.stdin.close()
        except BrokenPipeError:
            pass  # the child says why on its standard error
        complaint = child.stderr.read().decode(errors="replace").strip()
        if child.wait():
            raise ShoalError(f"failed to register layer: {complaint.splitlines()[-1] if complaint else 'killed'}")
    return f"sha256:{digest.hexdigest()}"


def decompress(file: IO[bytes]) -> Iterator[bytes]:
    """The content of `file`, which is gzip, zstandard or nothing of the sort, in chunks."""
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        yield from _gunzip(file)
    elif magic == b"\x28\xb5\x2f\xfd":
        import zstandard

        with zstandard.ZstdDecompressor().stream_reader(file) as reader:
            while chunk := reader.read(CHUNK):
                yield chunk
    else:
        while chunk := file.read(CHUNK):
            yield chunk


def _gunzip(file: IO[bytes]) -> Iterator[bytes]:
    """Every member of a gzip file, with its checksum verified by zlib."""
    decoder = zlib.decompressobj(31)
    try:
        while chunk := file.read(CHUNK):
            while chunk:
                yield decoder.decompress(chunk)
                chunk = b""
                if decoder.eof and decoder.unused_data:
                    chunk, decoder = decoder.unused_data, zlib.decompressobj(31)
    except zlib.error as fault:
        raise ShoalError(f"failed to register layer: {fault}") from fault
    if not decoder.eof:
        raise ShoalError("failed to register layer: unexpected EOF")


def tree_size(root: Path) -> int:
    """Bytes of the files below `root`, a hard-linked one counted once."""
    seen: set[int] = set()
    total = 0
    for folder, _, names in os.walk(root):
        for name in names:
            try:
                facts = os.lstat(os.path.join(folder, name))
            except FileNotFoundError:  # a running container has removed it just now
                continue
            if facts.st_ino not in seen:
                seen.add(facts.st_ino)
                total += facts.st_size
    return total
