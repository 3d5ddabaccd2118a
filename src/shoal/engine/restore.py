"""At the daemon's start: containers that run are taken over, those that ended meanwhile are seen to, the half-done is
finished or undone."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

from shoal.engine import linux, restart
from shoal.engine.context import Context, log
from shoal.engine.lifecycle import Lifecycle, request
from shoal.engine.records import Entry
from shoal.kit.clock import ZERO_TIME
from shoal.model.errors import ShoalError


async def restore(context: Context, lifecycle: Lifecycle) -> None:
    """Read every container and bring each into a state that is true."""
    entries = context.records.load()
    known = {entry.id for entry in entries}
    for id in context.conmon.bundles():
        if id not in known:
            await _undo(context, id, context.cgroups.path(id))
    async with asyncio.TaskGroup() as group:
        for entry in entries:
            group.create_task(_restore(context, lifecycle, entry))


async def _restore(context: Context, lifecycle: Lifecycle, entry: Entry) -> None:
    try:
        if context.running(entry):
            await _adopt(context, lifecycle, entry)
        else:
            await _undo(context, entry.id, entry.record.cgroup)
            _settle(context, lifecycle, entry)
    except Exception:
        log.exception("restoring container %s", entry.id[:12])


async def _adopt(context: Context, lifecycle: Lifecycle, entry: Entry) -> None:
    """It was running. If conmon still is, watch it; else its end is worked through now, with its real exit code."""
    record = entry.record
    if linux.start_time(record.conmon) == record.conmon_started and record.conmon:
        with suppress(ShoalError):
            await context.networks.open(request(entry))
        # killed between writing the record and letting the process go: it still waits
        await context.workers.run(context.conmon.release, entry.id)
    lifecycle.watch(entry)


async def _undo(context: Context, id: str, cgroup: str) -> None:
    """Clear away what a start that nobody was told of has left."""
    for name in ("pid", "conmon.pid"):
        try:
            pid = int((context.conmon.bundle(id) / name).read_text())
        except (OSError, ValueError):
            continue
        if _belongs(pid, id):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                await linux.ended(pid, linux.start_time(pid))
    with suppress(Exception):
        await context.networks.close(id)
    entry = context.records.get(id)
    if entry is not None:
        await context.workers.run(context.launcher.clean, entry.record)
    else:
        await context.workers.run(context.conmon.forget, id)
        await context.workers.run(context.cgroups.remove, cgroup)


def _belongs(pid: int, id: str) -> bool:
    """Whether `pid` is a process of container `id`, not one that got the same number later."""
    try:
        with open(f"/proc/{pid}/cgroup") as cgroups, open(f"/proc/{pid}/cmdline", "rb") as command:
            return id in cgroups.read() or id.encode() in command.read()
    except OSError:
        return False


def _settle(context: Context, lifecycle: Lifecycle, entry: Entry) -> None:
    """A container that does not run: start it if its policy says so, delete it if it was to vanish."""
    container, state = entry.container, entry.state
    if state.restarting or state.status == "running":
        context.records.update_state(entry, status="exited", running=False, restarting=False, paused=False, pid=0)
    ran = state.started_at != ZERO_TIME
    if restart.at_daemon_start(
        container.host_config.restart_policy,
        ran_before=ran,
        exit_code=state.exit_code,
        restarts=container.restart_count,
        stopped=container.stopped_by_user,
    ):
        context.spawn(lifecycle.start(entry), f"starting container {entry.id[:12]}")
    elif container.host_config.auto_remove and ran:
        context.spawn(lifecycle.remove(entry, volumes=True), f"removing container {entry.id[:12]}")
