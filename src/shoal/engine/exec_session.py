"""One process that is run in a container beside its own (`docker exec`), from creation to end.

`crun exec` stays in the foreground, so its exit code is the process's; a terminal comes over a socket from it.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import select
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec

from shoal.engine import failures, process
from shoal.engine.context import Context
from shoal.engine.process import ENVIRONMENT
from shoal.engine.records import Entry
from shoal.engine.streams import ProcessStreams
from shoal.model.base import Struct

_LIKE_FAILURE = re.compile(
    rb"^.{0,400}(not found|No such file|denied|not permitted|Invalid arg|format error|unavailable)[^\n]*\s*$"
)
_LOOKS = 1000
"""How often, 2 ms apart, words that look like crun's are looked at: on a busy machine its end may take long."""


class ExecConfig(Struct, frozen=True):
    """The body of POST /containers/x/exec."""

    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    detach_keys: str = ""
    tty: bool = False
    env: list[str] = []
    cmd: list[str] = []
    privileged: bool = False
    user: str = ""
    working_dir: str = ""
    console_size: list[int] | None = None


class ExecInfo(Struct, frozen=True):
    """What is known of an exec. `exit_code` is None until it ends."""

    id: str
    container_id: str
    config: ExecConfig
    running: bool = False
    started: bool = False
    exit_code: int | None = None
    pid: int = 0


class ExecStream:
    """A started exec: iterate it for (stream, data); its exit code is known when that ends."""

    def __init__(self, session: ExecSession, streams: ProcessStreams) -> None:
        self._session, self._streams = session, streams

    def __aiter__(self) -> AsyncIterator[tuple[int, bytes]]:
        return self._frames()

    async def _frames(self) -> AsyncIterator[tuple[int, bytes]]:
        told = False
        async for stream, data in self._streams:
            if not told and await self._session.refused(data):
                continue  # crun's own words; they come below, in docker's form
            told = True
            yield stream, data
        await self._session.ended()
        if text := self._session.failure:
            yield 1, f"{text}\r\n".encode()

    async def write(self, data: bytes) -> None:
        """Input for the process."""
        await self._streams.write(data)

    async def close_stdin(self) -> None:
        """End of input."""
        await self._streams.close_stdin()

    def close(self) -> None:
        """Leave; the process runs on."""
        self._streams.close()


class ExecSession:
    """One exec from creation to end."""

    def __init__(self, info: ExecInfo, entry: Entry, context: Context) -> None:
        self.info, self.entry, self._context = info, entry, context
        self.streams: ProcessStreams | None = None
        self.child: subprocess.Popen[bytes] | None = None
        self.failure = ""
        self.ended_at = 0.0
        """When it ended, by the monotonic clock; 0: it has not."""
        self._base = context.options.exec_root / "c" / entry.id / f"x-{info.id[:16]}"

    def file(self, kind: str) -> Path:
        """One of the files beside the container's bundle."""
        return self._base.with_name(f"{self._base.name}.{kind}")

    def complaint(self) -> str:
        """What crun said when it could not start the process."""
        try:
            lines = self.file("log").read_text(errors="replace").splitlines()
            return str(json.loads(lines[-1])["msg"]) if lines else ""
        except (OSError, ValueError, KeyError):
            return ""

    async def refused(self, output: bytes) -> bool:
        """Whether `output`, the first there is, is crun's, that could not start the process.

        crun writes to the process's standard error first and to its log when it ends, a moment later: so something that
        looks like a failure is looked at again, until the process is known to be another than crun.
        """
        if not _LIKE_FAILURE.search(output):
            return False
        for _ in range(_LOOKS):
            if self.failure or self.complaint():
                return True
            if self.info.exit_code is not None or self._runs():
                return False
            await asyncio.sleep(0.002)
        return False

    def _runs(self) -> bool:
        """Whether crun's child has become the program that was asked for."""
        try:
            command = Path(f"/proc/{self.pid()}/cmdline").read_bytes()
        except OSError:
            return False
        return bool(command) and b"crun" not in command

    def launch(self, spec: dict[str, object]) -> None:
        """Start crun; with a terminal, wait until it has sent it. Blocking."""
        config = self.info.config
        self.file("json").write_bytes(msgspec.json.encode(spec))
        listener = _listen(self.file("tty")) if config.tty else None
        args = [
            str(self._context.conmon.runtime), self.entry.record.cgroup, "--log", str(self.file("log")), "--log-format",
            "json", "exec", "--process", str(self.file("json")), "--pid-file", str(self.file("pid")),
        ]  # fmt: skip
        if listener:
            args += ["--console-socket", str(self.file("tty"))]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        plain = not config.tty
        try:
            self.child = subprocess.Popen(
                [*args, self.entry.id], env=ENVIRONMENT, start_new_session=True, cwd="/",
                stdin=pipe if plain and config.attach_stdin else null,
                stdout=pipe if plain and config.attach_stdout else null,
                stderr=pipe if plain and config.attach_stderr else null,
            )  # fmt: skip
            terminal = _receive(listener, self.child.pid) if listener else -1
        finally:
            if listener:
                listener.close()
        child = self.child
        outputs = {os.dup(pipe_.fileno()): number for number, pipe_ in ((1, child.stdout), (2, child.stderr)) if pipe_}
        stdin = os.dup(child.stdin.fileno()) if child.stdin else -1
        for opened in (child.stdin, child.stdout, child.stderr):
            if opened:
                opened.close()
        child.stdin = child.stdout = child.stderr = None
        self.streams = ProcessStreams(outputs, stdin, terminal)
        if config.console_size and any(config.console_size):
            self.streams.resize(*config.console_size)

    def pid(self) -> int:
        """The process's id on this machine; 0 when it has none (yet)."""
        try:
            return int(self.file("pid").read_text())
        except (OSError, ValueError):
            return 0

    async def kill(self) -> None:
        """SIGKILL to the process, as soon as crun has made it; then wait for its end."""
        while self.child is not None and self.child.poll() is None:
            if pid := self.pid():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                break
            await asyncio.sleep(0.01)
        await self.ended()

    def look(self) -> None:
        """Notice the end now, whoever else waits for it."""
        if self.child is not None and self.info.running and (code := self.child.poll()) is not None:
            self.finish(code if code >= 0 else 128 - code)

    async def ended(self) -> int:
        """Wait for the end; returns the exit code."""
        if self.info.exit_code is None and self.child is not None:
            self.finish(await process.wait(self.child))
        return self.info.exit_code or 0

    def finish(self, code: int) -> None:
        """The process ended with `code`."""
        if self.info.exit_code is not None:
            return
        if complaint := self.complaint():
            failure = failures.explain(complaint, self.info.config.cmd[0])
            code, self.failure = failure.code, failures.exec_text(failure)
        self.info = msgspec.structs.replace(self.info, running=False, exit_code=code, pid=0)
        self.ended_at = time.monotonic()
        if self.streams is not None:
            self.streams.expire()
        for kind in ("json", "log", "tty", "pid"):
            self.file(kind).unlink(missing_ok=True)
        self._context.tell(self.entry.container, "exec_die", execID=self.info.id, exitCode=str(code))


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)
    listener.listen(1)
    return listener


def _receive(listener: socket.socket, pid: int) -> int:
    """The terminal that crun sends; -1 when it ends without. Blocking."""
    child = os.pidfd_open(pid)
    try:
        ready, _, _ = select.select([listener.fileno(), child], [], [], 60)
    finally:
        os.close(child)
    if listener.fileno() not in ready:
        return -1
    with listener.accept()[0] as link:
        _, descriptors, _, _ = socket.recv_fds(link, 256, 1)
    return descriptors[0] if descriptors else -1
