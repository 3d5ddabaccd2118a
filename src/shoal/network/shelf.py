"""Sandboxes on disk: one namespace file and one record each, under the daemon's run directory.

Both vanish with a reboot, as the namespaces themselves do; both survive the daemon.
"""

from __future__ import annotations

from pathlib import Path

from shoal.kit.files import write_atomic
from shoal.model.base import decode, encode
from shoal.network.kernel import namespaces
from shoal.network.sandbox import SandboxRecord


class Shelf:
    """The directories `<run_dir>/netns` and `<run_dir>/sandboxes`."""

    def __init__(self, run_dir: Path) -> None:
        self.namespaces = run_dir / "netns"
        self._records = run_dir / "sandboxes"
        for directory in (self.namespaces, self._records):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def namespace(self, container_id: str) -> Path:
        """Where a container's namespace is, or will be."""
        return self.namespaces / container_id

    def save(self, record: SandboxRecord) -> None:
        """Keep a record."""
        write_atomic(self._records / f"{record.id}.json", encode(record), durable=False)

    def drop(self, container_id: str) -> None:
        """Remove a container's record and namespace. Idempotent."""
        namespaces.delete(self.namespace(container_id))
        (self._records / f"{container_id}.json").unlink(missing_ok=True)

    def load(self) -> list[SandboxRecord]:
        """The sandboxes that still exist. What is left of others is removed."""
        found = {}
        for path in sorted(self._records.glob("*.json")):
            record = decode(path.read_bytes(), SandboxRecord)
            if not record.netns or namespaces.exists(Path(record.netns)):
                found[record.id] = record
        for path in [*self.namespaces.iterdir(), *self._records.glob("*.json")]:
            if path.stem not in found and len(path.stem) >= 12:
                self.drop(path.stem)
        return list(found.values())
