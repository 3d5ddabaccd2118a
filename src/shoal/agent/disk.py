"""The agent's copy of its tasks and their last statuses: a restarted agent goes on from there.

One file per task, written whole or not at all. They outlive a killed process; a power cut may lose the newest status,
which the container's own state then makes good.
"""

from __future__ import annotations

import os
from pathlib import Path

from shoal.model.base import Struct, decode, encode
from shoal.model.errors import ShoalError
from shoal.model.objects import Network, Task, TaskStatus


class Kept(Struct, frozen=True):
    """A task as the manager last sent it, its status as last seen here, and the networks that came with it."""

    task: Task
    status: TaskStatus
    networks: list[Network] = []


class TaskFiles:
    """The files in `directory`, which is made for this user only: tasks carry registry credentials."""

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
        """Keep a task and what belongs to it."""
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
