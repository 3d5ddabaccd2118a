"""Local volumes: directories that outlive containers. `<root>/<name>/_data`, and `volume.json` beside it.

With options (`volume_mounts`) something else is mounted on the directory while containers use it.

A volume that is to go with a container has a third file, `container`, with that one's id: while the container is made
it undoes what came to nothing, while it is removed it remembers what is still to be done. Whenever the daemon is
killed, its next start finds the volume with no record of the container, and removes it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from shoal.engine import volume_mounts
from shoal.engine.trash import Trash, thrown
from shoal.kit.clock import Clock
from shoal.kit.files import write_atomic
from shoal.kit.ids import Ids
from shoal.model.base import decode, encode
from shoal.model.container import Container
from shoal.model.engine import Volume
from shoal.model.errors import Conflict, InvalidArgument, NotFound, ShoalError
from shoal.model.names import check_volume_name

ANONYMOUS = "com.docker.volume.anonymous"
"""The label of a volume that nobody named."""


Names = list[str]

log = logging.getLogger("shoal.engine")


class Volumes:
    """Every volume of this machine. `users(name)` tells the ids of the containers that have it mounted."""

    def __init__(
        self, root: Path, clock: Clock, ids: Ids, users: Callable[[str], Iterable[str]] = lambda _: ()
    ) -> None:
        self._root, self._clock, self._ids = root, clock, ids
        self._mounts = volume_mounts.VolumeMounts()
        self.users = users
        root.mkdir(parents=True, exist_ok=True, mode=0o701)
        self.trash = Trash(root)
        """Volumes that were removed and are still to be deleted."""
        self._lock = threading.Lock()  # removal happens in threads
        self._volumes: dict[str, Volume] = {}
        self._bound: dict[str, str] = {}
        for folder in root.iterdir():
            if not thrown(folder):
                self._read(folder)

    def _read(self, folder: Path) -> None:
        record, note = folder / "volume.json", folder / "container"
        if record.exists():
            volume = decode(record.read_bytes(), Volume)
            self._volumes[volume.name] = volume
            if note.exists():
                self._bound[volume.name] = note.read_text()
        elif (folder / "_data").is_dir() and not any((folder / "_data").iterdir()):
            self.trash.throw(folder)  # a daemon was killed while it made this one; nothing is lost

    def list(self) -> list[Volume]:
        """Every volume, by name."""
        return [self._volumes[name] for name in sorted(self._volumes)]

    def find(self, name: str) -> Volume:
        """Raises NotFound."""
        try:
            return self._volumes[name]
        except KeyError:
            raise NotFound(f"get {name}: no such volume") from None

    def create(
        self,
        name: str = "",
        driver: str = "local",
        options: Mapping[str, str] | None = None,
        labels: Mapping[str, str] | None = None,
        *,
        container: str = "",
    ) -> Volume:
        """The volume called `name`, made if there is none; without a name, a new anonymous one.

        An anonymous one goes with the `container` that it is for, until `keep` says that there is such a container.
        Raises InvalidArgument (bad name, options that `local` does not have), NotFound (no such driver).
        """
        labels = dict(labels or {})
        anonymous = not name
        if anonymous:
            name = self._ids.hex_id()
            labels[ANONYMOUS] = ""
        if name in self._volumes:
            return self._volumes[name]
        check_volume_name(name)
        if driver not in ("", "local"):
            raise NotFound(f'error looking up volume plugin {driver}: plugin "{driver}" not found')
        options = dict(options or {})
        try:
            volume_mounts.check(options)
        except InvalidArgument as fault:
            raise InvalidArgument(f"create {name}: {fault}") from fault
        data = self._root / name / "_data"
        data.mkdir(parents=True, exist_ok=True)
        volume = Volume(
            name=name, mountpoint=str(data), created_at=self._clock.now(), labels=labels, options=options
        )  # fmt: skip
        if anonymous and container:
            self._bind(name, container)
        write_atomic(self._root / name / "volume.json", encode(volume))
        self._volumes[name] = volume
        return volume

    def count(self, container: Container) -> None:
        """`container` has been running since before this daemon, with what is mounted on its volumes."""
        for volume in self._of(container):
            self._mounts.count(volume, container.id)

    def use(self, container: Container) -> None:
        """`container` starts: mount what its volumes have options for. Blocks. Raises ShoalError."""
        for volume in self._of(container):
            self._mounts.use(volume, container.id)

    def release(self, container: Container) -> None:
        """`container` has ended: unmount what no other uses. Idempotent."""
        for volume in self._of(container):
            self._mounts.release(volume, container.id)

    def release_unused(self) -> None:
        """Unmount what nobody that was counted uses."""
        for volume in self.list():
            self._mounts.release(volume)

    def flags(self, container: Container) -> dict[str, Names]:
        """The flags (`ro`, `noexec`, ...) that `container`'s volumes are mounted with, by name."""
        return {volume.name: found for volume in self._of(container) if (found := volume_mounts.flags(volume))}

    def _of(self, container: Container) -> Iterable[Volume]:
        names = [point.name for point in container.mounts if point.type == "volume"]
        return [self._volumes[name] for name in names if name in self._volumes]

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume and what is in it. Raises NotFound unless `force`, Conflict when a container has it."""
        if name not in self._volumes and force:
            return
        self._discard(name)
        self.trash.empty()

    def _discard(self, name: str) -> None:
        with self._lock:
            volume = self.find(name)
            if users := self._users(name):
                raise Conflict(f"remove {name}: volume is in use - [{', '.join(sorted(users))}]")
            self._mounts.release(volume)  # never delete what is only mounted here
            self.trash.throw(self._root / name)
            del self._volumes[name]

    def prune(self, keep: Callable[[Volume], bool], *, anonymous_only: bool = True) -> tuple[Names, int]:
        """Remove unused volumes that `keep` does not want; returns their names and the bytes freed."""
        from shoal.engine.layers import tree_size

        gone, freed = [], 0
        for volume in self.list():
            named = ANONYMOUS not in volume.labels
            if (anonymous_only and named) or keep(volume) or self._users(volume.name):
                continue
            size = tree_size(Path(volume.mountpoint))
            with suppress(Conflict, NotFound):  # it was counted for a while
                self._discard(volume.name)
                freed += size
                gone.append(volume.name)
        self.trash.empty()
        return gone, freed

    # --- volumes that go with a container ---

    def bind(self, names: Iterable[str], container: str) -> None:
        """From now on those of the volumes `names` that nobody named go with `container`."""
        for name in names:
            if name in self._volumes and ANONYMOUS in self._volumes[name].labels:
                self._bind(name, container)

    def _bind(self, name: str, container: str) -> None:
        self._bound[name] = container
        try:
            self._note(name).write_text(container)
        except OSError as fault:  # a full disk must not keep anybody from removing things
            log.warning("volume %s stays if the daemon is killed now: %s", name, fault)

    def keep(self, container: str) -> None:
        """The volumes that go with `container` do so no longer."""
        for name in self._going_with(container):
            self._note(name).unlink(missing_ok=True)
            del self._bound[name]

    def drop(self, container: str) -> None:
        """`container` is gone: remove its volumes, but keep those that another one uses. Blocking, for any thread."""
        self._drop(container)
        self.trash.empty()

    def _drop(self, container: str) -> None:
        for name in self._going_with(container):
            del self._bound[name]
            try:
                self._discard(name)
            except (Conflict, NotFound):
                self._note(name).unlink(missing_ok=True)
            except (ShoalError, OSError) as fault:  # the container is gone all the same
                log.warning("removing volume %s: %s", name, fault)

    def settle(self, containers: Collection[str]) -> None:
        """At the start, when the `containers` are known: finish what an earlier daemon began. Blocking.

        The trash is left to be emptied.
        """
        for container in set(self._bound.values()):
            if container in containers or len(container) != 64:  # what a power cut left of a note means nothing
                self.keep(container)
            else:
                self._drop(container)

    def _users(self, name: str) -> set[str]:
        """The containers that have the volume, and the one that is being made with it."""
        return {*self.users(name), *([self._bound[name]] if name in self._bound else [])}

    def _going_with(self, container: str) -> Names:
        return [name for name, id in list(self._bound.items()) if id == container]

    def _note(self, name: str) -> Path:
        return self._root / name / "container"
