"""A machine's pid 1: builds the file tree, starts sshd and shoald, starts them again when they die, reaps, shuts down.

Standard library only, and small: it stays in memory as long as the machine runs. SIGTERM shuts the machine down:
shoald first, then everything else, then itself, and the kernel takes the namespaces with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from shoal.kit.files import write_atomic
from shoal.machine.local import cgroups, mounts

_WATCHED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 5.0
_STEADY = 5.0
"""Seconds that a service must have run for its next restart to be quick again."""
_LISTENERS_TIMEOUT, _MONITORS_TIMEOUT, _POLL = 3.0, 1.0, 0.02
_LOG_LIMIT = 16 << 20


@dataclass
class Service:
    """A program that is to run as long as the machine does."""

    name: str
    argv: list[str]
    environment: dict[str, str]
    pid: int = 0
    started: float = 0.0
    due: float | None = 0.0
    delay: float = _FIRST_DELAY

    def start(self) -> None:
        """Start it, its output appended to /var/log/NAME.log."""
        log = f"/var/log/{self.name}.log"
        with suppress(OSError):
            if os.stat(log).st_size > _LOG_LIMIT:
                os.replace(log, f"{log}.1")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0), (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o600),
                   (os.POSIX_SPAWN_DUP2, 1, 2)]  # fmt: skip
        self.started, self.due = time.monotonic(), None
        try:
            self.pid = os.posix_spawn(
                self.argv[0], self.argv, self.environment, file_actions=actions, setsid=True, setsigmask=[]
            )
        except OSError as fault:
            Path(log).write_text(f"cannot start {self.argv[0]}: {fault.strerror}\n")
            self.ended()

    def ended(self) -> None:
        """It is gone: say when it is to come back. Quickly at first, ever slower when it keeps dying."""
        now = time.monotonic()
        self.delay = _FIRST_DELAY if now - self.started > _STEADY else min(_LONGEST_DELAY, self.delay * 1.6)
        self.pid, self.due = 0, now + self.delay


def main(spec: dict[str, Any]) -> None:
    """Run the machine that `spec` describes; returns when it is to end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    for number in (signal.SIGTERM, signal.SIGINT):
        # A namespace's pid 1 gets only signals that it handles; they are taken by sigtimedwait all the same.
        signal.signal(number, lambda *_: None)
    try:
        mounts.name_process("machine-init")
        _set_up(spec)
        _answer("mounted")
    except Exception as fault:
        _answer(f"error {fault}")
        return
    if not os.read(0, 1):
        return
    null = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    services = [Service(**service) for service in spec["services"]]
    _supervise(services)
    _shut_down(services, spec["stop_timeout"])


def _answer(line: str) -> None:
    with suppress(OSError):
        os.write(1, line.replace("\n", " ").encode() + b"\n")


def _set_up(spec: dict[str, Any]) -> None:
    socket.sethostname(spec["hostname"])
    mounts.build(spec)
    if spec["first_boot"]:
        for directory in spec["hidden"]:
            # Removed through the overlay: the host's directory stays, the machine's begins empty.
            shutil.rmtree(directory, ignore_errors=True)
            os.makedirs(directory, 0o755)
    for path, mode, text in spec["files"]:
        _write(Path(path), mode, text)
    if [options for _, options in spec["hierarchies"]] == [""]:
        own = Path("/sys/fs/cgroup/init")
        own.mkdir(exist_ok=True)
        cgroups.join([own])
        # The launcher is in the cgroup above until it has ended.
        deadline = time.monotonic() + 1.0
        while not cgroups.enable_controllers(own.parent) and time.monotonic() < deadline:
            time.sleep(0.005)
    for resource_limit in ("RLIMIT_NOFILE", "RLIMIT_NPROC"):
        _raise_limit(resource_limit)


def _write(path: Path, mode: int, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.encode(), mode, durable=False)


def _raise_limit(name: str) -> None:
    import resource

    kind = getattr(resource, name)
    _, hard = resource.getrlimit(kind)
    with suppress(OSError, ValueError):
        resource.setrlimit(kind, (hard, hard))


def _supervise(services: list[Service]) -> None:
    """Keep the services running until somebody asks the machine to stop."""
    while True:
        now = time.monotonic()
        for service in services:
            if service.due is not None and service.due <= now:
                service.start()
        due = [service.due for service in services if service.due is not None]
        wait = max(0.0, min(due) - time.monotonic()) if due else 3600.0
        received = signal.sigtimedwait(_WATCHED, wait)
        for pid in _reap():
            for service in services:
                if service.pid == pid:
                    service.ended()
        if received is not None and received.si_signo != signal.SIGCHLD:
            return


def _reap() -> list[int]:
    ended = []
    with suppress(ChildProcessError):
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            ended.append(pid)
    return ended


def _shut_down(services: list[Service], timeout: float) -> None:
    """End the services, last first, then whatever is left; `timeout` is what shoald may take, in seconds.

    Containers outlive shoald. They get SIGTERM, and those that listen to it get time; conmon ends by itself once it
    has written down how its container ended.
    """
    for service in reversed(services):
        if service.pid:
            _signal([service.pid], signal.SIGTERM)
            _wait_until(partial(_gone, service.pid), timeout)
    _signal(_processes(), signal.SIGTERM)
    _wait_until(lambda: not any(map(_listens, _processes())), _LISTENERS_TIMEOUT)
    _signal(_processes(), signal.SIGKILL)
    _wait_until(lambda: not _processes(monitors=True), _MONITORS_TIMEOUT)
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
    os.sync()


def _gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _processes(*, monitors: bool = False) -> list[int]:
    """The machine's processes but this one; the containers' monitors (conmon) only on request."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and name != "1":
            with suppress(OSError):
                if monitors or Path(f"/proc/{name}/comm").read_bytes() != b"conmon\n":
                    found.append(int(name))
    return found


def _listens(pid: int) -> bool:
    """Whether the process has a handler for SIGTERM, and so is doing something about it."""
    with suppress(OSError, ValueError, IndexError):
        caught = Path(f"/proc/{pid}/status").read_bytes().split(b"SigCgt:")[1].split()[0]
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)
    return False


def _wait_until(condition: Callable[[], bool], timeout: float) -> None:
    """Reap until it is so, or `timeout` seconds are over."""
    deadline = time.monotonic() + timeout
    while True:
        _reap()
        if condition() or time.monotonic() > deadline:
            return
        signal.sigtimedwait({signal.SIGCHLD}, _POLL)
