"""Start, exit, restart and removal of containers: the state machine around conmon.

Starting takes the container's lock. Its end is noticed by a watcher, which takes the lock as well, cleans up, and
asks `restart` what follows. So nobody may wait for an exit while holding the lock.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import suppress

from msgspec.structs import replace

from shoal.engine import failures, health, linux, restart
from shoal.engine.conmon import RuntimeFailure, Started
from shoal.engine.context import Context, log
from shoal.engine.creation import VolumeSource
from shoal.engine.records import Entry, Record
from shoal.engine.wishes import released, request
from shoal.kit.clock import ZERO_TIME
from shoal.model.container import Container, ContainerState
from shoal.model.errors import Conflict, InvalidArgument, NotFound, NotModified, ShoalError
from shoal.network.sandbox import Sandbox


class Lifecycle:
    """Moves containers between created, running, restarting, exited and gone."""

    def __init__(self, context: Context, checks: health.Checks, volumes: VolumeSource) -> None:
        self._context, self._checks, self._volumes = context, checks, volumes
        self._watchers: dict[str, asyncio.Task[None]] = {}

    async def start(self, entry: Entry) -> None:
        """Run a container that does not run; once begun it goes through, even if the caller leaves.

        Raises NotModified when it runs; InvalidArgument or ShoalError with docker's text when it cannot.
        """
        await self._context.finish(self._start, entry)

    async def _start(self, entry: Entry) -> None:
        async with entry.lock:
            self._check_startable(entry)
            if entry.state.restarting:
                entry.wake.ring()
            entry.restart_delay = 0.0
            self._context.records.update(entry, stopped_by_user=False, restart_count=0)
            await self._launch(entry)

    def _check_startable(self, entry: Entry) -> None:
        if entry.removing:
            raise NotFound(f"No such container: {entry.id}")
        if entry.state.paused:
            raise InvalidArgument("cannot start a paused container, try unpause instead")
        if self._context.running(entry):
            raise NotModified("container already started")

    async def _launch(self, entry: Entry) -> None:
        """Bring the container up. On failure everything is undone and State.Error says why."""
        context = self._context
        try:
            started, sandbox = await self._create(entry)
            context.records.save(entry, self._running(entry, started, sandbox))
        except Exception as fault:
            await self._failed(entry, fault)
            raise self._explained(entry, fault) from fault
        if attachments := context.attachments.pop(entry.id, []):
            for attachment in attachments:
                attachment.connect(context.conmon.bundle(entry.id))
            with suppress(OSError):  # conmon was killed meanwhile: the watcher will notice
                await context.workers.run(context.conmon.await_loop, entry.id)
        # The record says running already: a daemon killed right here lets the process go on at its next start.
        release = context.conmon.release  # it waits already, nearly always
        if not release(entry.id, patience=0) and not await context.workers.run(release, entry.id):
            log.warning("container %s did not wait to be started", entry.id[:12])
        context.tell(entry.container, "start")
        self.watch(entry)

    def _running(self, entry: Entry, started: Started, sandbox: Sandbox) -> Record:
        """The record of a container that has its process and its network."""
        state = ContainerState(
            status="running",
            running=True,
            pid=started.pid,
            started_at=self._context.clock.now(),
            finished_at=entry.state.finished_at,
            health=health.initial(entry.container.config.healthcheck),
        )
        networks = sandbox.endpoints or entry.container.networks
        return replace(
            entry.record,
            pid=started.pid,
            pid_started=started.pid_started,
            conmon=started.conmon,
            conmon_started=started.conmon_started,
            container=replace(entry.container, networks=networks, ports=sandbox.ports, state=state),
        )

    async def _create(self, entry: Entry) -> tuple[Started, Sandbox]:
        context, record = self._context, entry.record
        namespaces, shm = self._shared(record.container)
        async with asyncio.TaskGroup() as group:
            network = group.create_task(context.networks.open(request(entry.record)))
            group.create_task(context.workers.run(context.launcher.prepare, record))
        sandbox = network.result()
        return await context.workers.run(context.launcher.create, record, sandbox, namespaces, shm), sandbox

    def _shared(self, container: Container) -> tuple[dict[str, str], str]:
        """Namespaces of other containers that this one joins (`container:<name>`), and the other's /dev/shm."""
        host = container.host_config
        paths: dict[str, str] = {}
        shm = ""
        for kind, mode in (("ipc", host.ipc_mode), ("pid", host.pid_mode)):
            if mode.startswith("container:"):
                other = self._context.records.find(mode.removeprefix("container:"))
                if not self._context.running(other):
                    raise Conflict(f"cannot join {kind.upper()} of a non running container: {other.id}")
                paths[kind] = f"/proc/{other.record.pid}/ns/{kind}"
                if kind == "ipc":
                    shm = f"/proc/{other.record.pid}/root/dev/shm"
        return paths, shm

    async def _failed(self, entry: Entry, fault: Exception) -> None:
        context = self._context
        with suppress(Exception):
            await context.networks.close(entry.id)
        context.cgroups.kill(entry.record.cgroup)  # created, and not to run after all
        with suppress(Exception):
            await context.workers.run(context.launcher.clean, entry.record)
        explained = self._explained(entry, fault)
        code = _failure(entry, fault).code
        context.records.update_state(
            entry, status="created" if entry.state.started_at == ZERO_TIME else "exited", running=False,
            restarting=False, pid=0, exit_code=code, error=str(explained), finished_at=context.clock.now(),
        )  # fmt: skip
        for attachment in context.attachments.pop(entry.id, []):
            attachment.abandon()
        context.tell(entry.container, "die", exitCode=str(code))
        context.settle(entry.next_exit, (code, ""))
        context.settle(entry.not_running, (code, ""))
        if entry.container.host_config.auto_remove:
            context.spawn("auto-remove", self.remove, entry, volumes=True)

    def _explained(self, entry: Entry, fault: Exception) -> ShoalError:
        if isinstance(fault, ExceptionGroup):
            fault = fault.exceptions[0]
        if isinstance(fault, RuntimeFailure):
            failure = _failure(entry, fault)
            text = failures.start_text(failure)
            return InvalidArgument(text) if failure.code in (126, 127) else ShoalError(text)
        return fault if isinstance(fault, ShoalError) else ShoalError(failures.system_text(fault))

    def watch(self, entry: Entry) -> None:
        """Wait for the end of a running container, and run its health checks meanwhile."""
        self._watchers[entry.id] = self._context.spawn(f"watching container {entry.id[:12]}", self._watch, entry)
        self._checks.begin(entry)

    async def _watch(self, entry: Entry) -> None:
        record = entry.record
        await linux.ended(record.conmon, record.conmon_started)
        async with entry.lock:
            await self._ended(entry)

    async def _ended(self, entry: Entry) -> None:
        """conmon is gone, so the exit code is there; if it is not, conmon was killed and the container dies too."""
        context = self._context
        self._checks.end(entry)
        self._watchers.pop(entry.id, None)
        code = context.conmon.exit_code(entry.id)
        if code is None:
            code = 255
            await self._kill_all(entry)
        oom = context.cgroups.out_of_memory(entry.record.cgroup)
        ran = (context.clock.now() - entry.state.started_at).total_seconds()
        container = entry.container
        if oom:
            context.tell(container, "oom")
        decision = restart.after_exit(
            container.host_config.restart_policy,
            code,
            restarts=container.restart_count,
            ran=ran,
            previous_delay=entry.restart_delay,
            stopped=container.stopped_by_user,
        )
        # Saved before anything is cleared away: the exit code must survive a daemon that is killed right here.
        state = replace(
            container.state,
            status="restarting" if decision.restart else "exited",
            running=decision.restart,
            restarting=decision.restart,
            paused=False,
            pid=0,
            exit_code=code,
            oom_killed=oom,
            finished_at=context.clock.now(),
        )
        processes = {"pid": 0, "pid_started": 0, "conmon": 0, "conmon_started": 0}
        context.records.observe(entry, replace(entry.record, container=replace(container, state=state), **processes))
        await self._close(entry)
        context.tell(entry.container, "die", exitCode=str(code), execDuration=str(int(ran)))
        context.settle(entry.next_exit, (code, ""))
        context.settle(entry.not_running, (code, ""))
        if decision.restart:
            entry.restart_delay = decision.delay
            context.spawn(f"restarting container {entry.id[:12]}", self._restart_later, entry, decision.delay)
            return
        if container.host_config.auto_remove:
            await self._delete(entry, volumes=True)

    async def _close(self, entry: Entry) -> None:
        context = self._context
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(context.networks.close(entry.id))
                group.create_task(context.workers.run(context.launcher.clean, entry.record))
        except BaseExceptionGroup as faults:
            log.error("cleaning up container %s: %s", entry.id[:12], "; ".join(map(str, faults.exceptions)))
        container = entry.container
        kept = {name: entry.record.asked.get(name, released(e)) for name, e in container.networks.items()}
        context.records.observe(entry, replace(entry.record, container=replace(container, networks=kept, ports={})))

    async def _kill_all(self, entry: Entry) -> None:
        self._context.cgroups.kill(entry.record.cgroup)
        await linux.ended(entry.record.pid, entry.record.pid_started)

    async def _restart_later(self, entry: Entry, delay: float) -> None:
        await entry.wake.wait(delay)
        async with entry.lock:
            if entry.removing or not entry.state.restarting:
                return
            self._context.records.update(entry, restart_count=entry.container.restart_count + 1)
            with suppress(ShoalError):
                await self._launch(entry)

    def cancel_restart(self, entry: Entry) -> None:
        """A container that waits to be restarted stays down."""
        if entry.state.restarting:
            self._context.records.update_state(entry, status="exited", running=False, restarting=False)
            self._context.settle(entry.not_running, (entry.state.exit_code, ""))
            entry.wake.ring()

    async def remove(self, entry: Entry, volumes: bool) -> None:
        """Delete a container; goes through, even if the caller leaves. Raises Conflict when it runs."""
        await self._context.finish(self._remove, entry, volumes)

    async def _remove(self, entry: Entry, volumes: bool) -> None:
        async with entry.lock:
            if entry.removing:
                return
            if (state := entry.state).running:
                what = "paused" if state.paused else "restarting" if state.restarting else "running"
                advice = "unpause and then stop" if state.paused else "stop"
                raise Conflict(
                    f'cannot remove container "/{entry.container.name}": container is {what}: {advice} the container '
                    "before removing or force remove"
                )
            await self._delete(entry, volumes)

    async def _delete(self, entry: Entry, volumes: bool) -> None:
        context, container = self._context, entry.container
        if volumes:  # noted first: a daemon that is killed before it has removed them finishes it at its next start
            self._volumes.bind(_unnamed(container), entry.id)
        folder = context.records.hide(entry)
        await context.workers.run(shutil.rmtree, folder, True)
        context.conmon.forget(entry.id)
        if volumes:
            await context.workers.run(self._volumes.drop, entry.id)
        for attachment in context.attachments.pop(entry.id, []):
            attachment.abandon()
        context.tell(container, "destroy")
        result = (container.state.exit_code, "")
        for futures in (entry.next_exit, entry.not_running, entry.removed):
            context.settle(futures, result)


def _unnamed(container: Container) -> list[str]:
    """The volumes that the container was not told to use by their names."""
    host = container.host_config
    asked = {bind.partition(":")[0] for bind in host.binds} | {mount.source for mount in host.mounts}
    return [point.name for point in container.mounts if point.type == "volume" and point.name not in asked]


def _failure(entry: Entry, fault: Exception) -> failures.Failure:
    if isinstance(fault, RuntimeFailure):
        return failures.explain(str(fault), entry.container.path)
    return failures.Failure(128, str(fault))
