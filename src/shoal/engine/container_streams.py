"""What goes into containers and what comes out: logs, attach, exec, terminal sizes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from shoal.engine import logs
from shoal.engine.attach import Attachment
from shoal.engine.container_access import ContainerAccess
from shoal.engine.context import Context
from shoal.engine.execs import ExecConfig, ExecInfo, Execs, ExecStream
from shoal.engine.logs import LogLine, LogOptions
from shoal.model.errors import Conflict, ShoalError


class ContainerStreams(ContainerAccess):
    """Logs, attach and exec."""

    def __init__(self, context: Context, execs: Execs) -> None:
        super().__init__(context)
        self._execs = execs

    def logs(self, id: str, options: LogOptions) -> AsyncIterator[LogLine]:
        """Its output so far, and with `follow` as it comes, until it ends. Raises ShoalError for driver `none`."""
        entry = self._find(id)
        if entry.container.host_config.log_config.type == "none":
            raise ShoalError("configured logging driver does not support reading")
        process = entry.record.conmon, entry.record.conmon_started

        def ended() -> bool:  # with its next start, if any, others come to follow it
            now = entry.record.conmon, entry.record.conmon_started
            return entry.removing or not self._context.running(entry) or now != process

        return logs.stream(Path(entry.container.log_path), options, self._context.inotify, ended)

    async def attach(self, id: str, *, stdin: bool = True, stdout: bool = True, stderr: bool = True) -> Attachment:
        """A client of its streams, from now on; one that is not running yet is joined when it starts.

        Raises Conflict when it is paused or about to restart.
        """
        entry = self._find(id)
        if entry.state.paused:
            raise Conflict(f"container {entry.id} is paused, unpause the container before attach")
        if entry.state.restarting:
            raise Conflict(f"container {entry.id} is restarting, wait until the container is running")
        config = entry.container.config
        attachment = Attachment(stdin=stdin and (config.open_stdin or config.tty), stdout=stdout, stderr=stderr)
        if self._context.running(entry):
            attachment.connect(self._context.conmon.bundle(entry.id))
        else:
            self._context.attachments.setdefault(entry.id, []).append(attachment)
        self._context.tell(entry.container, "attach")
        return attachment

    async def resize(self, id: str, height: int, width: int) -> None:
        """Give its terminal a size in characters. Raises Conflict when it does not run."""
        entry = self._find(id)
        self._check_running(entry)
        if entry.container.config.tty:
            self._context.conmon.control(entry.id, f"1 {height} {width}")
            self._context.tell(entry.container, "resize", height=str(height), width=str(width))

    async def exec_create(self, id: str, config: ExecConfig) -> str:
        """See `Execs.create`."""
        return self._execs.create(self._find(id), config)

    async def exec_start(
        self, id: str, *, detach: bool = False, console_size: Sequence[int] | None = None
    ) -> ExecStream | None:
        """See `Execs.start`."""
        return await self._execs.start(id, detach=detach, console_size=console_size)

    def exec_inspect(self, id: str) -> ExecInfo:
        """See `Execs.inspect`."""
        return self._execs.inspect(id)

    async def exec_resize(self, id: str, height: int, width: int) -> None:
        """See `Execs.resize`."""
        self._execs.resize(id, height, width)

    def exec_ids(self, id: str) -> Sequence[str]:
        """The execs that `inspect` lists."""
        return self._execs.of(self._find(id).id)
