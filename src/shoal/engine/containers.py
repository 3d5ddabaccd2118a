"""Everything that can be done with the containers of this machine: what the API and the agent call."""

from __future__ import annotations

import asyncio
import os
import signal as signal_numbers
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from pathlib import Path

from msgspec.structs import replace

from shoal.engine import defaults, linux, signals
from shoal.engine.container_streams import ContainerStreams
from shoal.engine.container_upkeep import ContainerUpkeep
from shoal.engine.context import Context
from shoal.engine.creation import Creator
from shoal.engine.execs import Execs
from shoal.engine.layers import tree_size
from shoal.engine.lifecycle import Lifecycle
from shoal.engine.records import Entry
from shoal.engine.selection import prunable
from shoal.model.container import Container, ContainerConfig, HostConfig, NetworkingConfig
from shoal.model.errors import Conflict, InvalidArgument, NotModified, ShoalError
from shoal.model.filters import Filters

Waiters = list[asyncio.Future[tuple[int, str]]]


class Containers(ContainerStreams, ContainerUpkeep):
    """The contract of docs/design.md. Every `id` may also be a name or the unique beginning of an id.

    All raise NotFound `No such container: x`.
    """

    def __init__(self, context: Context, creator: Creator, lifecycle: Lifecycle, execs: Execs) -> None:
        super().__init__(context, execs)
        self._creator, self._lifecycle = creator, lifecycle

    async def create(
        self,
        name: str,
        config: ContainerConfig,
        host_config: HostConfig | None = None,
        networking: NetworkingConfig | None = None,
        *,
        managed: bool = False,
    ) -> Container:
        """A new container, not started; an empty name means: invent one. `managed` ones are the swarm's.

        Raises NotFound `No such image: x`, Conflict for a taken name, InvalidArgument for anything wrong.
        """
        return await self._creator.create(
            name, config, host_config or HostConfig(), networking or NetworkingConfig(), managed=managed
        )  # fmt: skip

    def list(self) -> list[Container]:
        """Every container, newest first."""
        return sorted((e.container for e in self._context.records.all()), key=lambda c: c.created, reverse=True)

    def find(self, wanted: str) -> Container:
        """One container."""
        return self._find(wanted).container

    def folder(self, id: str) -> Path:
        """Where its files are: hostname, hosts, resolv.conf, the log."""
        return self._context.records.folder(self._find(id).id)

    async def start(self, id: str) -> None:
        """Run it. Raises NotModified when it runs, InvalidArgument with docker's text when it cannot."""
        await self._lifecycle.start(self._find(id))

    async def stop(self, id: str, timeout: float | None = None, signal: str | None = None) -> None:
        """Stop signal, then SIGKILL after `timeout` seconds (its own StopTimeout or 10; negative: never).

        Raises NotModified when it does not run.
        """
        entry = self._find(id)
        await _settled(entry)
        if not entry.state.running:
            raise NotModified("container already stopped")
        number = signals.parse(signal or entry.container.config.stop_signal or defaults.STOP_SIGNAL)
        await self._end(entry, number, timeout)
        self._context.tell(entry.container, "stop")

    async def _end(self, entry: Entry, number: int, timeout: float | None) -> None:
        """Bring a running container down for good and wait until it is."""
        if timeout is None:
            given = entry.container.config.stop_timeout
            timeout = defaults.STOP_TIMEOUT if given is None else given
        if not entry.removing:
            self._context.records.update(entry, stopped_by_user=True)
        self._lifecycle.cancel_restart(entry)
        ended = self._waiter(entry, entry.not_running)
        async with entry.lock:  # a start under way is waited for, and then ended
            if not entry.state.running:
                return
            self._lifecycle.cancel_restart(entry)
            self._signal(entry, number)
        try:
            async with asyncio.timeout(timeout if timeout >= 0 else None):
                await asyncio.shield(ended)
        except TimeoutError:
            self._signal(entry, signal_numbers.SIGKILL)
            await ended

    def _signal(self, entry: Entry, number: int) -> None:
        """Send a signal to the container's first process; SIGKILL wakes a paused container to die."""
        record = entry.record
        if record.pid and linux.start_time(record.pid) == record.pid_started:
            with suppress(ProcessLookupError):
                os.kill(record.pid, number)
        if entry.state.paused:
            self._context.cgroups.freeze(record.cgroup, False)
        self._context.tell(entry.container, "kill", signal=str(number))

    async def kill(self, id: str, signal: str = "SIGKILL") -> None:
        """Send a signal. Raises Conflict when it does not run, InvalidArgument for a signal that is none."""
        entry = self._find(id)
        number = signals.parse(signal or "SIGKILL")
        await _settled(entry)
        if not self._context.running(entry):
            raise Conflict(f"cannot kill container: {id}: container {entry.id} is not running")
        stop = signals.parse(entry.container.config.stop_signal or defaults.STOP_SIGNAL)
        if number in (signal_numbers.SIGKILL, stop):
            self._context.records.update(entry, stopped_by_user=True)
        self._signal(entry, number)
        if number == signal_numbers.SIGKILL:
            await self._waiter(entry, entry.next_exit)

    async def restart(self, id: str, timeout: float | None = None, signal: str | None = None) -> None:
        """Stop (when it runs) and start."""
        entry = self._find(id)
        if entry.state.running:
            number = signals.parse(signal or entry.container.config.stop_signal or defaults.STOP_SIGNAL)
            automatic = entry.container.host_config.auto_remove
            if automatic:  # it is not to vanish in between
                self._set_auto_remove(entry, False)
            try:
                await self._end(entry, number, timeout)
            finally:
                if automatic and not entry.removing:
                    self._set_auto_remove(entry, True)
        with suppress(NotModified):
            await self._lifecycle.start(entry)
        self._context.tell(entry.container, "restart")

    def _set_auto_remove(self, entry: Entry, on: bool) -> None:
        self._context.records.update(entry, host_config=replace(entry.container.host_config, auto_remove=on))

    def wait(self, id: str, condition: str = "not-running") -> Awaitable[tuple[int, str]]:
        """The exit code and an error text, when the condition has come: not-running, next-exit, removed.

        Waiting begins with the call, before the first await. Raises InvalidArgument for another condition.
        """
        entry = self._find(id)
        lists = {"": entry.not_running, "not-running": entry.not_running, "next-exit": entry.next_exit,
                 "removed": entry.removed}  # fmt: skip
        if condition not in lists:
            raise InvalidArgument(f'invalid condition: "{condition}"')
        if condition in ("", "not-running") and not entry.state.running:
            future: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
            future.set_result((entry.state.exit_code, ""))
            return future
        return self._waiter(entry, lists[condition])

    def _waiter(self, entry: Entry, futures: Waiters) -> asyncio.Future[tuple[int, str]]:
        future: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        if entry.removing:
            future.set_result((entry.state.exit_code, ""))
        else:
            futures.append(future)
        return future

    async def remove(self, id: str, force: bool = False, volumes: bool = False) -> None:
        """Delete it; a running one only with `force` (then it is killed). Raises Conflict."""
        entry = self._find(id)
        while True:
            await _settled(entry)
            if force and entry.state.running:
                await self._end(entry, signal_numbers.SIGKILL, -1)
            try:
                return await self._lifecycle.remove(entry, volumes)
            except Conflict:  # without force it may not run; with it, somebody has just started it again
                if not force:
                    raise

    async def rename(self, id: str, name: str) -> None:
        """Raises Conflict for a taken name, InvalidArgument for a bad one."""
        entry = self._find(id)
        new, old = name.removeprefix("/"), entry.container.name
        if not new:
            raise InvalidArgument("Neither old nor new names may be empty")
        if new == old:
            raise InvalidArgument(f"Renaming a container with the same name as its current name: {new}")
        async with entry.lock:
            self._context.records.reserve(new, entry.id)
            self._context.records.update(entry, name=new)
            self._context.records.release(old)
        self._context.tell(entry.container, "rename", oldName=f"/{old}")

    async def pause(self, id: str) -> None:
        """Freeze every process. Raises Conflict when it does not run or is paused."""
        entry = self._find(id)
        async with entry.lock:
            self._check_running(entry)
            if entry.state.paused:
                raise Conflict(f"Container {entry.id} is already paused")
            self._context.cgroups.freeze(entry.record.cgroup, True)
            self._context.records.update_state(entry, status="paused", paused=True)
        self._context.tell(entry.container, "pause")

    async def unpause(self, id: str) -> None:
        """Let a paused one go on. Raises Conflict when it is not paused."""
        entry = self._find(id)
        async with entry.lock:
            if not entry.state.paused:
                raise Conflict(f"Container {entry.id} is not paused")
            self._context.cgroups.freeze(entry.record.cgroup, False)
            self._context.records.update_state(entry, status="running", paused=False)
        self._context.tell(entry.container, "unpause")

    async def prune(self, filters: Filters) -> tuple[Sequence[str], int]:
        """Remove what does not run and matches `filters` (label, label!, until); ids and the bytes freed."""
        gone, freed = [], 0
        for container in self.list():
            if container.state.running or not prunable(container, filters, self._context.clock.now()):
                continue
            folder = self._context.records.folder(container.id)
            size = await self._context.workers.run(tree_size, folder / "upper")
            with suppress(ShoalError):
                await self.remove(container.id)
                gone.append(container.id)
                freed += size
        return gone, freed


async def _settled(entry: Entry) -> None:
    """Wait for a start that is under way: only then is it known whether the container runs."""
    async with entry.lock:
        pass
