"""Logs of services: whose, how much of them, and one line of them. What the log broker carries between nodes."""

from __future__ import annotations

from datetime import datetime

from shoal.model.base import Struct


class LogSelector(Struct, frozen=True):
    """Whose logs: tasks of these services, these tasks, tasks on these nodes; a task that fits one of them is meant."""

    service_ids: list[str] = []
    node_ids: list[str] = []
    task_ids: list[str] = []


class LogRequest(Struct, frozen=True):
    """How much: `tail` is per task, None is everything; `follow` goes on until the asker leaves."""

    follow: bool = False
    tail: int | None = None
    since: datetime | None = None
    stdout: bool = True
    stderr: bool = True


class ServiceLogLine(Struct, frozen=True):
    """One piece of a task's output, its newline included. `stream` is 1 for stdout, 2 for stderr."""

    service_id: str
    node_id: str
    task_id: str
    moment: datetime
    stream: int
    data: bytes
    attrs: dict[str, str] = {}
