"""Further processes in running containers: `docker exec`, and the probes of health checks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec

from shoal.engine import defaults, oci, rootfs, users
from shoal.engine.context import Context
from shoal.engine.exec_session import ExecConfig, ExecInfo, ExecSession, ExecStream
from shoal.engine.launch import open_files
from shoal.engine.records import Entry
from shoal.model.errors import Conflict, InvalidArgument, NotFound, ShoalError

REMEMBERED = 300.0
"""Seconds for which an exec that has ended can still be asked for its exit code."""


class Execs:
    """Every exec of this daemon's life."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._sessions: dict[str, ExecSession] = {}

    def create(self, entry: Entry, config: ExecConfig) -> str:
        """Prepare an exec; returns its id. Raises Conflict when the container does not run, InvalidArgument."""
        self._check(entry)
        if not config.cmd:
            raise InvalidArgument("No exec command specified")
        self._forget_old()
        info = ExecInfo(id=self._context.ids.hex_id(), container_id=entry.id, config=config)
        self._sessions[info.id] = ExecSession(info, entry, self._context)
        self._context.tell(entry.container, f"exec_create: {' '.join(config.cmd)}", execID=info.id)
        return info.id

    def _check(self, entry: Entry) -> None:
        if entry.state.restarting:
            raise Conflict(f"Container {entry.id} is restarting, wait until the container is running")
        if not entry.state.running:
            raise Conflict(f"container {entry.id} is not running")
        if entry.state.paused:
            raise Conflict(f"container {entry.container.name} is paused, unpause the container before exec")

    async def start(
        self, id: str, *, detach: bool = False, console_size: Sequence[int] | None = None
    ) -> ExecStream | None:
        """Run it; None when detached. Raises NotFound, Conflict, and with `detach` ShoalError when it cannot run."""
        session = self._find(id)
        if session.info.started:
            what = "has already run" if not session.info.running else "is already running"
            raise Conflict(f"Error: Exec command {id} {what}")
        self._check(session.entry)
        config = session.info.config
        if detach or console_size:
            config = msgspec.structs.replace(
                config, console_size=list(console_size or config.console_size or ()),
                **({"attach_stdin": False, "attach_stdout": False, "attach_stderr": False} if detach else {}),
            )  # fmt: skip
        session.info = msgspec.structs.replace(session.info, started=True, running=True, config=config)
        self._context.tell(session.entry.container, f"exec_start: {' '.join(config.cmd)}", execID=id)
        try:
            await self._context.workers.run(lambda: session.launch(self._spec(session)))
        except asyncio.CancelledError:  # it may run, and nobody listens
            if session.streams is not None:
                session.streams.close()
            raise
        except (ShoalError, OSError) as fault:
            session.finish(126)
            raise fault if isinstance(fault, ShoalError) else ShoalError(str(fault)) from fault
        assert session.streams is not None
        if not detach:
            self._context.spawn(f"exec {id[:12]}", session.ended)
            return ExecStream(session, session.streams)
        self._context.spawn(f"exec {id[:12]}", self._drain, session)
        return None

    async def _drain(self, session: ExecSession) -> None:
        assert session.streams is not None
        async for _ in session.streams:
            pass  # a detached terminal's output goes nowhere, but it has to go
        await session.ended()

    def _spec(self, session: ExecSession) -> dict[str, object]:
        config, entry = session.info.config, session.entry
        container = entry.container
        root = f"/proc/{entry.record.pid}/root"
        identity = users.resolve(
            config.user or container.config.user, rootfs.read(root, "/etc/passwd"), rootfs.read(root, "/etc/group"),
            container.host_config.group_add,
        )  # fmt: skip
        capabilities = (
            defaults.ALL_CAPABILITIES if config.privileged else self._context.launcher.capabilities(container)
        )
        return oci.exec_process(
            container,
            args=config.cmd,
            env=config.env,
            tty=config.tty,
            cwd=config.working_dir or container.config.working_dir or "/",
            identity=identity,
            capabilities=capabilities,
            open_files=open_files(),
        )

    def inspect(self, id: str) -> ExecInfo:
        """What is known of an exec. Raises NotFound."""
        session = self._find(id)
        session.look()
        info = session.info
        return msgspec.structs.replace(info, pid=session.pid()) if info.running else info

    def resize(self, id: str, height: int, width: int) -> None:
        """Give its terminal a size. Raises NotFound."""
        session = self._find(id)
        if session.streams is not None:
            session.streams.resize(height, width)

    def of(self, container_id: str) -> list[str]:
        """The ids of a container's execs that run or were not yet started."""
        return [s.info.id for s in self._sessions.values()
                if s.info.container_id == container_id and s.info.exit_code is None]  # fmt: skip

    def forget(self, container_id: str) -> None:
        """The container ended: its finished execs need not be known any more."""
        for id, session in list(self._sessions.items()):
            if session.info.container_id == container_id and not session.info.running:
                del self._sessions[id]

    def _forget_old(self) -> None:
        for id, session in list(self._sessions.items()):
            session.look()
            if session.ended_at and time.monotonic() > session.ended_at + REMEMBERED:
                del self._sessions[id]

    def discard(self, id: str) -> None:
        """An exec that nobody will ask for (a health probe)."""
        self._sessions.pop(id, None)

    def kill(self, id: str) -> None:
        """SIGKILL to the exec's process, if it still runs, or once it does."""
        if session := self._sessions.get(id):
            self._context.spawn(f"killing exec {id[:12]}", session.kill)

    async def code(self, id: str) -> int:
        """Wait for the end of a started exec; its exit code."""
        return await self._find(id).ended()

    def _find(self, id: str) -> ExecSession:
        matches = [s for key, s in self._sessions.items() if id and key.startswith(id)]
        if len(matches) != 1:
            raise NotFound(f"No such exec instance: {id}")
        return matches[0]


__all__ = ["ExecConfig", "ExecInfo", "ExecStream", "Execs"]
