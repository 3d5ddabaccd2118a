"""At the daemon's start: containers that run are taken over, those that ended meanwhile are seen to, the half-done is
finished or undone."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress

from shoal.engine import linux, restart
from shoal.engine.context import Context, log
from shoal.engine.lifecycle import Lifecycle
from shoal.engine.records import Entry
from shoal.engine.wishes import request
from shoal.kit.clock import ZERO_TIME
from shoal.model.errors import ShoalError


async def restore(context: Context, lifecycle: Lifecycle) -> None:
    """Read every container and bring each into a state that is true."""
    entries = context.records.load()
    for entry in entries:
        if context.running(entry):
            context.volumes.count(entry.container)
    await context.workers.run(context.volumes.release_unused)
    known = {entry.id for entry in entries}
    await context.workers.run(context.volumes.settle, known)
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
            await context.networks.open(request(record))
        # killed between writing the record and letting the process go: it still waits
        await context.workers.run(context.conmon.release, entry.id)
    lifecycle.watch(entry)


async def _undo(context: Context, id: str, cgroup: str) -> None:
    """Clear away what a start that nobody was told of has left."""
    if context.conmon.bundle(id).exists():
        # A conmon that the killed daemon had forked but not yet executed would be overlooked below: without this file
        # it comes to nothing.
        (context.conmon.bundle(id) / "config.json").unlink(missing_ok=True)
        while pids := await context.workers.run(_processes, id, os.fsencode(context.conmon.bundle(id))):
            for pid in pids:  # again and again: one of them may just have made the next
                started = linux.start_time(pid)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    await linux.ended(pid, started)
    with suppress(Exception):
        await context.networks.close(id)
    entry = context.records.get(id)
    if entry is not None:
        await context.workers.run(context.launcher.clean, entry.record)
    else:
        await context.workers.run(context.conmon.forget, id)
        await context.workers.run(context.cgroups.remove, cgroup)


def _processes(id: str, bundle: bytes) -> list[int]:
    """The processes of container `id`: in its cgroup, or with its bundle on their command line (conmon, crun).

    One may end while it is looked at and leave behind another that was not there yet, as crun's do in turn: whoever
    came meanwhile is looked at, too, until nobody did.
    """
    found: list[int] = []
    seen: set[str] = set()
    while names := {name for name in os.listdir("/proc") if name.isdigit()} - seen:
        found += [int(name) for name in names if _belongs(int(name), id, bundle)]
        seen |= names
    return found


def _belongs(pid: int, id: str, bundle: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/cgroup", "rb") as cgroups, open(f"/proc/{pid}/cmdline", "rb") as command:
            return linux.start_time(pid) > 0 and (id.encode() in cgroups.read() or bundle in command.read())
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
        context.spawn(f"starting container {entry.id[:12]}", lifecycle.start, entry)
    elif container.host_config.auto_remove and ran:
        context.spawn(f"removing container {entry.id[:12]}", lifecycle.remove, entry, volumes=True)
