"""The agent's copy of its tasks and their last statuses: a restarted agent goes on from there.

One file per task, written whole or not at all, in a thread: a slow disk holds up nobody. What a kill or a power cut
loses is the newest of what was seen; every action can be repeated, and the container's own state makes it good. So
does a full disk: it is tried again and again, and the tasks run on meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

from msgspec.structs import replace

from shoal.engine.process import in_thread
from shoal.kit.tasks import Bell
from shoal.model.base import Struct, decode, encode
from shoal.model.errors import ShoalError
from shoal.model.objects import Network, Task, TaskStatus
from shoal.model.states import TaskState

logger = logging.getLogger(__name__)

RETRY = 1.0
"""Seconds between two tries to write to a disk that refuses."""


class Kept(Struct, frozen=True):
    """A task as the manager last sent it, its status as last seen here, and the networks that came with it."""

    task: Task
    status: TaskStatus
    networks: list[Network] = []


class TaskFiles:
    """The files in `directory`, which is made for this user only.

    A task's registry credentials are in its file for as long as its image may still have to be pulled, and no longer.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self) -> list[Kept]:
        """Every task on disk, by id; a file that cannot be read is dropped."""
        found: list[Kept] = []
        for path in sorted(self._directory.glob("*.json")):
            try:
                found.append(decode(path.read_bytes(), Kept))
            except ShoalError:
                path.unlink()
        return found

    def save(self, kept: Kept) -> None:
        """Keep a task and what belongs to it. Raises OSError."""
        if kept.status.state >= TaskState.READY:
            kept = replace(kept, task=replace(kept.task, registry_auth=""))
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._path(kept.task.id)
        draft = path.with_suffix(".draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(encode(kept))
        draft.replace(path)

    def remove(self, task_id: str) -> None:
        """Forget a task."""
        self._path(task_id).unlink(missing_ok=True)

    def _path(self, task_id: str) -> Path:
        if not task_id.isalnum():
            raise ValueError(f"not a task id: {task_id!r}")
        return self._directory / f"{task_id}.json"


class TaskKeeper:
    """Writes behind: takes the newest of each task at once, and has it on disk a little later."""

    def __init__(self, files: TaskFiles) -> None:
        self._files = files
        self._pending: dict[str, Kept | None] = {}
        self._writing: dict[str, Kept | None] = {}
        self._bell = Bell()

    def put(self, kept: Kept) -> None:
        """Keep a task in this form."""
        self._pending[kept.task.id] = kept
        self._bell.ring()

    def drop(self, task_id: str) -> None:
        """Forget a task."""
        self._pending[task_id] = None
        self._bell.ring()

    async def run(self) -> None:
        """Write until cancelled; then the rest is written, too."""
        try:
            while True:
                await self._bell.wait()
                self._writing, self._pending = self._pending, {}
                try:
                    await in_thread(self._write, self._writing)
                except OSError as fault:
                    logger.warning("tasks cannot be kept on disk: %s", fault)
                    self._pending = self._writing | self._pending
                    self._bell.ring()
                    await asyncio.sleep(RETRY)
                self._writing = {}
        finally:
            try:
                self._write(self._writing | self._pending)
            except OSError as fault:
                logger.warning("tasks are not kept on disk: %s", fault)
            self._writing, self._pending = {}, {}

    def _write(self, batch: dict[str, Kept | None]) -> None:
        for task_id, kept in batch.items():
            if kept is None:
                self._files.remove(task_id)
            else:
                self._files.save(kept)
