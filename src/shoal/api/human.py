"""A container's state in words: the STATUS column of `docker ps`."""

from __future__ import annotations

from datetime import datetime

from shoal.kit.units import human_duration
from shoal.model.container import ContainerState

_HEALTH = {"starting": " (health: starting)", "healthy": " (healthy)", "unhealthy": " (unhealthy)"}


def status_text(state: ContainerState, now: datetime) -> str:
    """`Up 2 minutes (healthy)`, `Exited (0) 3 hours ago`, `Created`, ... at `now`."""
    if state.running:
        since = human_duration((now - state.started_at).total_seconds())
        if state.paused:
            return f"Up {since} (Paused)"
        if state.restarting:
            return f"Restarting ({state.exit_code}) {_ago(state, now)}"
        return f"Up {since}{_HEALTH.get(state.health.status, '') if state.health else ''}"
    if state.restarting:
        return f"Restarting ({state.exit_code}) {_ago(state, now)}"
    if state.status == "removing":
        return "Removal In Progress"
    if state.dead:
        return "Dead"
    if state.status == "created":
        return "Created"
    return f"Exited ({state.exit_code}) {_ago(state, now)}"


def _ago(state: ContainerState, now: datetime) -> str:
    return f"{human_duration((now - state.finished_at).total_seconds())} ago"
