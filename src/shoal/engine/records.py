"""Containers on disk: one directory each, `<data_root>/containers/<id>`, mode 0700, with `container.json` in it.

A directory appears and disappears whole: it is made and removed under another name, and renamed. So whenever the
daemon is killed, a container is there or it is not.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

from msgspec.structs import replace

from shoal.engine import overlay
from shoal.engine.failures import system_text
from shoal.kit.files import write_atomic
from shoal.kit.tasks import Bell
from shoal.model import names
from shoal.model.base import Struct, decode, encode
from shoal.model.container import Container, ContainerState, EndpointSettings
from shoal.model.errors import Conflict, InvalidArgument, NotFound, ShoalError

log = logging.getLogger("shoal.engine")


class Record(Struct, frozen=True):
    """A container and what the daemon needs to find its processes again."""

    container: Container
    asked: dict[str, EndpointSettings] = {}
    """The networks it was created with or connected to, as asked."""
    managed: bool = False
    """Made by the swarm's agent for a task, which may be on overlays: a manager has chosen its addresses."""
    cgroup: str = ""
    pid: int = 0
    pid_started: int = 0
    conmon: int = 0
    conmon_started: int = 0


class Entry:
    """A container in memory. `lock` is held by whatever starts, changes or removes it."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.lock = asyncio.Lock()
        self.removing = False
        self.next_exit: list[asyncio.Future[tuple[int, str]]] = []
        self.not_running: list[asyncio.Future[tuple[int, str]]] = []
        self.removed: list[asyncio.Future[tuple[int, str]]] = []
        self.restart_delay = 0.0
        self.wake = Bell()
        """Rung to end the wait before a restart."""

    @property
    def container(self) -> Container:
        """As it is now."""
        return self.record.container

    @property
    def id(self) -> str:
        """The container's id."""
        return self.record.container.id

    @property
    def state(self) -> ContainerState:
        """The container's state."""
        return self.record.container.state


class Records:
    """Every container of this machine, in memory and on disk."""

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._entries: dict[str, Entry] = {}
        self._names: dict[str, str] = {}

    def load(self) -> list[Entry]:
        """Read everything, clear away what was half made or half removed, and return it."""
        for folder in sorted(self._root.iterdir()):
            if len(folder.name) != 64:
                overlay.unmount(folder)
                shutil.rmtree(folder, ignore_errors=True)
                continue
            try:
                entry = Entry(decode((folder / "container.json").read_bytes(), Record))
            except (ShoalError, OSError) as fault:  # after a power cut; its files stay for whoever wants to look
                log.error("container %s cannot be read and is left out: %s", folder.name[:12], fault)
                continue
            self._entries[entry.id] = entry
            self._names[entry.container.name] = entry.id
        return list(self._entries.values())

    def folder(self, id: str) -> Path:
        """Where a container's files lie."""
        return self._root / id

    def all(self) -> Iterable[Entry]:
        """Every container."""
        return list(self._entries.values())

    def find(self, wanted: str) -> Entry:
        """By id, name (with or without `/`) or beginning of the id. Raises NotFound, or InvalidArgument."""
        entry = self._entries.get(wanted) or self._entries.get(self._names.get(wanted.removeprefix("/"), ""))
        if entry:
            return entry
        matches = [entry for id, entry in self._entries.items() if wanted and id.startswith(wanted)]
        if len(matches) > 1:
            raise InvalidArgument(f"multiple IDs found with provided prefix: {wanted}")
        if not matches:
            raise NotFound(f"No such container: {wanted}")
        return matches[0]

    def get(self, id: str) -> Entry | None:
        """By full id."""
        return self._entries.get(id)

    def reserve(self, name: str, id: str) -> None:
        """Take `name` for `id`. Raises InvalidArgument or Conflict."""
        names.check_container_name(name)
        if holder := self._names.get(name):
            raise Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{holder}". You have to remove '
                "(or rename) that container to be able to reuse that name."
            )
        self._names[name] = id

    def taken(self, name: str) -> bool:
        """Whether a container has this name."""
        return name in self._names

    def release(self, name: str) -> None:
        """Give a name back."""
        self._names.pop(name, None)

    def write_new(self, record: Record) -> None:
        """Make a new container's directory; blocking, any thread."""
        folder = self._root / f"{record.container.id}.creating"
        try:
            folder.mkdir(mode=0o700)
            overlay.prepare(folder)
            _write(folder, record)
            folder.rename(self._root / record.container.id)
        except OSError as fault:
            shutil.rmtree(folder, ignore_errors=True)
            raise ShoalError(system_text(fault)) from fault

    def add(self, record: Record) -> Entry:
        """A container that `write_new` wrote."""
        entry = Entry(record)
        self._entries[entry.id] = entry
        return entry

    def save(self, entry: Entry, record: Record) -> None:
        """Replace a container's record, on disk first. Raises ShoalError when the disk does not take it."""
        if not entry.removing:
            try:
                _write(self._root / entry.id, record)
            except OSError as fault:
                raise ShoalError(system_text(fault)) from fault
        entry.record = record

    def observe(self, entry: Entry, record: Record) -> None:
        """`save` what happened: that is true even if the disk is full."""
        try:
            self.save(entry, record)
        except ShoalError as fault:
            log.error("container %s: its state is not on disk: %s", entry.id[:12], fault)
            entry.record = record

    def update(self, entry: Entry, **changes: object) -> Container:
        """`save` with fields of the container changed; returns the container."""
        self.save(entry, replace(entry.record, container=replace(entry.container, **changes)))
        return entry.container

    def update_state(self, entry: Entry, **changes: object) -> Container:
        """`observe` fields of the container's state; returns the container."""
        state = replace(entry.state, **changes)
        self.observe(entry, replace(entry.record, container=replace(entry.container, state=state)))
        return entry.container

    def hide(self, entry: Entry) -> Path:
        """Forget a container; returns the renamed directory, to be deleted."""
        entry.removing = True
        folder = self._root / f"{entry.id}.removing"
        (self._root / entry.id).rename(folder)
        self._entries.pop(entry.id, None)
        if self._names.get(entry.container.name) == entry.id:
            del self._names[entry.container.name]
        return folder


def _write(folder: Path, record: Record) -> None:
    # Several a second while containers start: safe against every kill, not worth a disk's wait each.
    write_atomic(folder / "container.json", encode(record), durable=False)
