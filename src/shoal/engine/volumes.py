"""Local volumes: directories that outlive containers. `<root>/<name>/_data`, and `volume.json` beside it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from shoal.kit.clock import Clock
from shoal.kit.files import write_atomic
from shoal.kit.ids import Ids
from shoal.model.base import decode, encode
from shoal.model.engine import Volume
from shoal.model.errors import Conflict, InvalidArgument, NotFound
from shoal.model.names import check_container_name

ANONYMOUS = "com.docker.volume.anonymous"
"""The label of a volume that nobody named."""


Names = list[str]


class Volumes:
    """Every volume of this machine. `users(name)` tells the ids of the containers that have it mounted."""

    def __init__(
        self, root: Path, clock: Clock, ids: Ids, users: Callable[[str], Iterable[str]] = lambda _: ()
    ) -> None:
        self._root, self._clock, self._ids = root, clock, ids
        self.users = users
        root.mkdir(parents=True, exist_ok=True, mode=0o701)
        self._volumes = {v.name: v for v in (decode(p.read_bytes(), Volume) for p in root.glob("*/volume.json"))}

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
    ) -> Volume:
        """The volume called `name`, made if there is none; without a name, a new anonymous one.

        Raises InvalidArgument (bad name, options that `local` does not have), NotFound (no such driver), Conflict
        (it exists with another driver).
        """
        labels = dict(labels or {})
        if not name:
            name = self._ids.hex_id()
            labels[ANONYMOUS] = ""
        if name in self._volumes:
            return self._volumes[name]
        check_container_name(name)
        if driver not in ("", "local"):
            raise NotFound(f'error looking up volume plugin {driver}: plugin "{driver}" not found')
        if options:
            key = sorted(options)[0]
            raise InvalidArgument(f'create {name}: invalid option: "{key}"')
        data = self._root / name / "_data"
        data.mkdir(parents=True, exist_ok=True)
        volume = Volume(name=name, mountpoint=str(data), created_at=self._clock.now(), labels=labels)
        write_atomic(self._root / name / "volume.json", encode(volume))
        self._volumes[name] = volume
        return volume

    def remove(self, name: str, *, force: bool = False) -> None:
        """Remove a volume and what is in it. Raises NotFound unless `force`, Conflict when a container has it."""
        if name not in self._volumes and force:
            return
        self.find(name)
        if users := sorted(self.users(name)):
            raise Conflict(f"remove {name}: volume is in use - [{', '.join(users)}]")
        (self._root / name / "volume.json").unlink(missing_ok=True)
        shutil.rmtree(self._root / name)
        del self._volumes[name]

    def prune(self, keep: Callable[[Volume], bool], *, anonymous_only: bool = True) -> tuple[Names, int]:
        """Remove unused volumes that `keep` does not want; returns their names and the bytes freed."""
        from shoal.engine.layers import tree_size

        gone, freed = [], 0
        for volume in self.list():
            named = ANONYMOUS not in volume.labels
            if (anonymous_only and named) or keep(volume) or any(True for _ in self.users(volume.name)):
                continue
            freed += tree_size(Path(volume.mountpoint))
            self.remove(volume.name)
            gone.append(volume.name)
        return gone, freed
