"""conmon: the small process beside each container that keeps its output, its exit code and its terminal.

It outlives the daemon. Its runtime is a script (`write_runtime`) that joins the container's cgroups before it becomes
crun; see `cgroup` for why.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import shlex
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from shoal.engine import linux
from shoal.engine.cgroup import Cgroups
from shoal.engine.options import EngineOptions
from shoal.engine.process import ENVIRONMENT
from shoal.kit.files import write_atomic
from shoal.model.base import Struct, decode
from shoal.model.errors import ShoalError

log = logging.getLogger("shoal.engine")

_CREATE_TIMEOUT = 120.0
_LOOK = 1.0
"""Seconds between two looks at whether the crun that creates a container is still there."""
_CREATOR = "creator.pid"
"""The file in a bundle with the process id of the crun that creates the container."""
_TRIES = 100
"""How often a bundle is emptied before it is left: whoever makes files there makes a handful."""
COPY_LIFETIME = 60.0
"""Seconds after which nobody needs crun's copy of itself any more; it needs a thousandth of that."""


class RuntimeFailure(ShoalError):
    """crun could not create or start a container; the message is crun's own."""


class Started(Struct, frozen=True):
    """The processes of a container, each with its start time (see `linux.start_time`)."""

    pid: int
    pid_started: int
    conmon: int
    conmon_started: int


class _Answer(Struct, frozen=True, rename=None):
    data: int = -1
    message: str = ""


def write_runtime(options: EngineOptions, cgroups: Cgroups) -> Path:
    """Write the script that conmon and exec run as runtime: `runtime <cgroup path> <crun's arguments>`."""
    copies = _place_for_copies(options)
    lines = ["#!/bin/sh", "set -e", f"export _LIBCONTAINER_STATEDIR={shlex.quote(str(copies))}", "g=$1", "shift"]
    lines.append(f'[ "$1" != create ] || echo $$ >{_CREATOR}')  # conmon runs it in the bundle
    lines += [f'echo 0 >{shlex.quote(root)}/"$g"/{name}' for root, name in cgroups.join_files()]
    root = options.exec_root / "crun"
    crun = f"{shlex.quote(options.crun)} --cgroup-manager disabled --root {shlex.quote(str(root))}"
    if cgroups.hybrid:  # crun refuses to work where it sees a v2 tree with controllers beside v1
        inner = f'umount -l {shlex.quote(str(cgroups.unified))}; exec {crun} "$@"'
        lines.append(f'exec unshare --mount --propagation private /bin/sh -c {shlex.quote(inner)} sh "$@"')
    else:
        lines.append(f'exec {crun} "$@"')
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = options.exec_root / "runtime"
    write_atomic(path, "\n".join([*lines, ""]).encode(), 0o700, durable=False)
    return path


def _place_for_copies(options: EngineOptions) -> Path:
    """Where crun copies itself to for a moment, instead of /tmp: what a killed one leaves would stay there for good."""
    folder = options.exec_root / "crun-copies"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for entry in folder.iterdir():
        with suppress(FileNotFoundError):  # its crun lives, and took it away just now
            if time.time() - entry.stat().st_mtime > COPY_LIFETIME:
                entry.unlink()
    return folder


class Conmon:
    """Starts conmon processes and reads what they leave behind. Everything here blocks: call it in a thread."""

    def __init__(self, options: EngineOptions, cgroups: Cgroups) -> None:
        self._options, self._cgroups = options, cgroups
        self.runtime = write_runtime(options, cgroups)
        self._exits = options.exec_root / "exits"
        self._exits.mkdir(exist_ok=True, mode=0o700)

    def bundle(self, id: str) -> Path:
        """The directory with config.json, the pid files and the sockets `attach` and `ctl`."""
        return self._options.exec_root / "c" / id

    def create(self, id: str, cgroup: str, log: str, *, tty: bool, stdin: bool, keep_stdin: bool) -> Started:
        """Create the container in its bundle; its process waits for `release`. Raises RuntimeFailure."""
        bundle = self.bundle(id)
        reader, writer = os.pipe2(os.O_CLOEXEC)
        args = [
            self._options.conmon, "--api-version", "1", "-c", id, "-u", id, "-n", id, "-r", str(self.runtime),
            "--runtime-arg", cgroup, "-b", str(bundle), "-p", str(bundle / "pid"), "-P", str(bundle / "conmon.pid"),
            "--exit-dir", str(self._exits), "--full-attach", "--no-sync-log", "-l", log,
        ]  # fmt: skip
        args += ["-t"] if tty else []
        args += ["-i"] if stdin else []
        args += ["--leave-stdin-open"] if keep_stdin else []
        try:
            try:
                self._spawn(args, bundle, writer)
            finally:
                os.close(writer)
            answer = self._read_answer(reader, bundle, cgroup)
        finally:
            os.close(reader)
        if answer.data <= 0:
            raise RuntimeFailure(answer.message.strip() or "crun or conmon was killed")
        conmon = int((bundle / "conmon.pid").read_text())
        return Started(
            pid=answer.data, pid_started=linux.start_time(answer.data), conmon=conmon,
            conmon_started=linux.start_time(conmon),
        )  # fmt: skip

    def _spawn(self, args: list[str], bundle: Path, sync: int) -> None:
        """Start conmon, which leaves for the background at once. It drops a file `oom` where it runs: in the bundle."""
        null = subprocess.DEVNULL
        environment = {**ENVIRONMENT, "_OCI_SYNCPIPE": str(sync)}
        subprocess.run(args, env=environment, pass_fds=(sync,), cwd=bundle, start_new_session=True, check=False,
                       stdin=null, stdout=null, stderr=null)  # fmt: skip

    def _read_answer(self, reader: int, bundle: Path, cgroup: str) -> _Answer:
        """What conmon says when its crun has ended.

        Where crun was killed late, conmon first reads its complaint to the end, which the container's process keeps
        open for as long as it waits to be released: without end. So that one is killed as well.
        """
        deadline = time.monotonic() + _CREATE_TIMEOUT
        data, alone = b"", False
        while b"\n" not in data:
            ready, _, _ = select.select([reader], [], [], _LOOK)
            if ready:
                chunk = os.read(reader, 65536)
                if not chunk:
                    break
                data += chunk
            elif time.monotonic() > deadline:
                raise RuntimeFailure("timed out waiting for the container to be created")
            elif alone:  # for a whole look: conmon had the time to answer, if it had anything to say
                self._cgroups.kill(cgroup)
            else:
                alone = _creator_gone(bundle)
        # crun's words, which it cuts where its buffer ends: in the middle of a letter, too.
        return decode(data.decode(errors="replace"), _Answer) if data.strip() else _Answer()

    def await_loop(self, id: str) -> None:
        """Wait until conmon hears of those who attach: one that is still on its way there when the container ends never
        does, and their output is lost. A line that means nothing to it stays in its FIFO until then."""
        descriptor = os.open(self.bundle(id) / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(descriptor, b"0 0 0\n")
            deadline = time.monotonic() + 5
            while linux.unread(descriptor) and time.monotonic() < deadline:
                time.sleep(0.001)
        finally:
            os.close(descriptor)

    def release(self, id: str, patience: float = 5.0) -> bool:
        """Let a created container's process go on; False when it does not wait after `patience` seconds, or no more.

        This is what `crun start` does (4 ms less): one byte into the FIFO that the process reads.
        """
        fifo = self._options.exec_root / "crun" / id / "exec.fifo"
        deadline = time.monotonic() + patience
        while True:
            try:
                descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                break
            except OSError as fault:
                if fault.errno != errno.ENXIO or time.monotonic() > deadline or not self._alive(id):
                    return False
                time.sleep(0.001)
        try:
            return os.write(descriptor, b"1") == 1
        except BrokenPipeError:
            return False
        finally:
            os.close(descriptor)

    def _alive(self, id: str) -> bool:
        try:
            pid = int((self.bundle(id) / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return False
        return b"crun" in command  # it has not become the container's own program yet

    def exit_code(self, id: str) -> int | None:
        """The exit code that conmon left (128 + signal), or None."""
        try:
            return int((self._exits / id).read_text())
        except (OSError, ValueError):
            return None

    def forget(self, id: str) -> None:
        """Remove what conmon and crun left of a container that has ended."""
        (self._exits / id).unlink(missing_ok=True)
        for folder in (self._options.exec_root / "crun" / id, self.bundle(id)):
            _remove_flat(folder)

    def control(self, id: str, message: str) -> None:
        """One line to conmon: `1 <rows> <columns>` resizes the terminal, `2 0 0` opens the log again."""
        descriptor = os.open(self.bundle(id) / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(descriptor, f"{message}\n".encode())
        finally:
            os.close(descriptor)

    def bundles(self) -> list[str]:
        """The ids of all containers that have a bundle."""
        folder = self._options.exec_root / "c"
        return [entry.name for entry in os.scandir(folder)] if folder.exists() else []


def _creator_gone(bundle: Path) -> bool:
    """Whether the crun that creates the container of `bundle` has begun and ended, and conmon knows it."""
    try:
        creator, conmon = (int((bundle / name).read_text()) for name in (_CREATOR, "conmon.pid"))
    except (OSError, ValueError):
        return False  # not yet begun
    return linux.parent(creator) != conmon


def _remove_flat(folder: Path) -> None:
    """Remove a directory in which an exec, that ends with its container, makes and removes files meanwhile."""
    for _ in range(_TRIES):
        try:
            entries = list(os.scandir(folder))
        except FileNotFoundError:
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _remove_flat(Path(entry.path))
            else:
                with suppress(FileNotFoundError):
                    os.unlink(entry.path)
        try:
            os.rmdir(folder)
        except OSError as fault:
            if fault.errno != errno.ENOTEMPTY:
                raise
    log.error("%s cannot be removed: there are always new files in it", folder)
