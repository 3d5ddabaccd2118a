"""Waiting for a service to be what was asked, with docker's progress lines.

`look` is the decision (pure); `wait` asks, draws and sleeps. A service has converged when every task that should run
runs, and has kept running for the update's monitor time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from shoal.api.client import Client, filters
from shoal.ui.progress import Board

Json = dict[str, Any]

_STAGES = ("new", "pending", "assigned", "accepted", "preparing", "ready", "starting", "running")
_MOST_BARS = 20
_INTERVAL = 0.2
_MONITOR = 5.0


class NotConverged(Exception):
    """The update was paused; the message says why."""


class Look(NamedTuple):
    """What one look at a service found."""

    running: int
    total: int
    rows: dict[str, Json | None]
    """Per slot (`1/5`) or node (its id): the task that counts."""

    @property
    def done(self) -> bool:
        """Everything that should run runs."""
        return self.running == self.total


def look(service: Json, tasks: list[Json], nodes: list[Json]) -> Look:
    """How far `service` is, given its up-to-date tasks and the swarm's nodes."""
    alive = {node["ID"] for node in nodes if node.get("Status", {}).get("State") != "down"}
    wanted = [task for task in tasks if task.get("DesiredState") in ("running", "ready", "accepted", "complete")]
    placed = [task for task in wanted if not task.get("NodeID") or task["NodeID"] in alive]
    mode = service["Spec"].get("Mode") or {}
    if mode.get("Global") is not None:
        by_node = {task["NodeID"]: task for task in _oldest_first(placed) if task.get("NodeID")}
        rows: dict[str, Json | None] = {node[:12]: task for node, task in sorted(by_node.items())}
        return Look(_running(rows), max(len(rows), 1), rows)
    replicas = (mode.get("Replicated") or {}).get("Replicas", 1)
    by_slot = {task.get("Slot", 0): task for task in _oldest_first(placed)}
    slots = sorted(by_slot)[:replicas]
    slots += [slot for slot in range(1, replicas + 1) if slot not in by_slot][: replicas - len(slots)]
    rows = {f"{place}/{replicas}": by_slot.get(slot) for place, slot in enumerate(sorted(slots), 1)}
    return Look(_running(rows), replicas, rows)


def _oldest_first(tasks: list[Json]) -> list[Json]:
    return sorted(tasks, key=lambda task: task.get("CreatedAt", ""))


def _running(rows: dict[str, Json | None]) -> int:
    return sum(1 for task in rows.values() if task and task["Status"]["State"] == "running")


def wait(
    client: Client,
    identifier: str,
    name: str,
    board: Board,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Draw the progress until the service has converged. Raises NotConverged, DaemonError, ConnectionFault."""
    query = {"filters": filters({"service": [identifier], "_up-to-date": ["true"]})}
    converged_at: float | None = None
    rolling_back = False
    while True:
        service = client.get(f"/services/{identifier}")
        seen = look(service, client.get("/tasks", query), client.get("/nodes"))
        rolling_back = _update_state(service, board, rolling_back)
        _draw(board, seen, "rolling back update: " if rolling_back else "")
        converged_at = (clock() if converged_at is None else converged_at) if seen.done else None
        if converged_at is not None:
            left = _monitor(service, rolling_back) - (clock() - converged_at)
            if left <= 0:
                board.set("verify", f"Service {name} converged")
                return
            seconds = math.ceil(left)
            board.set("verify", f"Waiting {seconds} seconds to verify that tasks are stable...")
        sleep(_INTERVAL)


def _update_state(service: Json, board: Board, rolling_back: bool) -> bool:
    """Whether it is being rolled back. Raises NotConverged when the update has stopped."""
    status = service.get("UpdateStatus") or {}
    message = status.get("Message", "")
    match status.get("State"):
        case "paused":
            raise NotConverged(f"service update paused: {message}")
        case "rollback_paused":
            raise NotConverged(f"service rollback paused: {message}")
        case "rollback_started":
            if not rolling_back:
                board.set("rollback", message)
            return True
    return rolling_back


def _monitor(service: Json, rolling_back: bool) -> float:
    config = service["Spec"].get("RollbackConfig" if rolling_back else "UpdateConfig") or {}
    return config["Monitor"] / 1e9 if config.get("Monitor") else _MONITOR


def _draw(board: Board, seen: Look, prefix: str) -> None:
    board.set("overall progress", f"{prefix}{seen.running} out of {seen.total} tasks")
    if len(seen.rows) > _MOST_BARS:
        return
    for name, task in seen.rows.items():
        error = task["Status"].get("Err") if task else ""
        state = task["Status"]["State"] if task else ""
        if error:
            board.set(name, " ".join(error.split())[:75])
        elif board.terminal:
            board.set(name, f"{state:<9} ", bar=_stage_bar(state))


def _stage_bar(state: str) -> str:
    if state not in _STAGES:
        return ""
    done = 50 * (_STAGES.index(state) + 1) // len(_STAGES)
    return "[" + "=" * done + ">" + " " * (50 - done) + "]"
