"""Content-addressed blobs on disk: compressed layers, image configs, manifests. `<root>/sha256/<hex>`.

A blob appears under its name only when all of it has arrived and its digest was checked. What has arrived of an
interrupted download stays as `<root>/partial/<hex>` and is continued; what else a killed daemon left there is removed.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shoal.model.errors import InvalidArgument, NotFound, ShoalError

CHUNK = 1 << 20
"""Bytes read or written at a time."""


HEX = re.compile("[0-9a-f]{64}")
"""A digest without its algorithm: the name of a file or directory."""


class DigestMismatch(ShoalError):
    """What arrived is not what was announced."""


class BlobStore:
    """Blobs by digest (`sha256:<64 hex digits>`)."""

    def __init__(self, root: Path) -> None:
        self._done = root / "sha256"
        self._partial = root / "partial"
        for folder in (self._done, self._partial):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in self._partial.iterdir():
            if not HEX.fullmatch(path.name):
                path.unlink()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty file for what may become a blob: on the same file system, so that `adopt` can rename it.

        Gone after the scope, unless it was adopted.
        """
        descriptor, name = tempfile.mkstemp(dir=self._partial)
        os.close(descriptor)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    def path(self, digest: str) -> Path:
        """Where the blob is, or will be. Raises InvalidArgument for what is not a sha256 digest."""
        return self._done / _hex(digest)

    def partial(self, digest: str) -> Path:
        """Where a download of the blob collects its bytes."""
        return self._partial / _hex(digest)

    def has(self, digest: str) -> bool:
        """Whether the whole blob is here."""
        return self.path(digest).exists()

    def read(self, digest: str) -> bytes:
        """A small blob's bytes. Raises NotFound."""
        try:
            return self.path(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"content digest {digest}: not found") from None

    def size(self, digest: str) -> int:
        """Bytes of a blob that is here."""
        return self.path(digest).stat().st_size

    def put(self, data: bytes) -> str:
        """Store small `data`; returns its digest."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if not self.has(digest):
            partial = self.partial(digest)
            partial.write_bytes(data)
            self._keep(partial, digest)
        return digest

    def adopt(self, partial: Path, digest: str) -> None:
        """Take a finished file as the blob, after checking it (blocking: reads all of it).

        Raises DigestMismatch, and then removes the file, so that the next attempt begins afresh.
        """
        with partial.open("rb") as file:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        if actual != _hex(digest):
            partial.unlink()
            raise DigestMismatch(f"filesystem layer verification failed for digest {digest}")
        self._keep(partial, digest)

    def delete_except(self, wanted: Iterable[str]) -> int:
        """Remove every blob that is not wanted; returns the bytes that became free."""
        keep = {_hex(digest) for digest in wanted}
        freed = 0
        for path in self._done.iterdir():
            if path.name not in keep:
                freed += path.stat().st_size
                path.unlink()
        return freed

    def _keep(self, partial: Path, digest: str) -> None:
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.rename(self.path(digest))


def _hex(digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    if algorithm != "sha256" or not HEX.fullmatch(value):
        raise InvalidArgument(f"invalid checksum digest format: {digest}")
    return value
