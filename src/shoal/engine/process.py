"""Child processes, without the event loop's own subprocess support (uvloop's costs 100 ms per spawn)."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, ParamSpec, TypeVar

from shoal.kit.tasks import to_its_end

P = ParamSpec("P")
T = TypeVar("T")

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
"""What helpers get instead of the daemon's own environment."""


class Finished(NamedTuple):
    """What a process left: its code (128 + signal when a signal ended it) and its output."""

    code: int
    stdout: bytes
    stderr: bytes


def run(args: Sequence[str], *, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Finished:
    """Run a program to its end, blocking. Raises OSError when it cannot be run."""
    done = subprocess.run(args, input=stdin, env=env or ENVIRONMENT, capture_output=True, check=False)
    return Finished(done.returncode if done.returncode >= 0 else 128 - done.returncode, done.stdout, done.stderr)


async def wait(child: subprocess.Popen[bytes]) -> int:
    """The exit code of `child` (128 + signal), waited for without a thread."""
    from shoal.engine.linux import readable

    if child.poll() is None:
        descriptor = os.pidfd_open(child.pid)
        try:
            await readable(descriptor)
        finally:
            os.close(descriptor)
    code = child.wait()
    return code if code >= 0 else 128 - code


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`asyncio.to_thread` that never leaves a call behind: a waiter that is cancelled goes when the call has ended.

    For calls whose files are cleared away, or used by the next, as soon as their caller is done.
    """
    return await to_its_end(asyncio.get_running_loop().run_in_executor(None, lambda: function(*args, **kwargs)))


class Workers:
    """A pool of threads for blocking work, so small that a hundred starts at once do not trample each other."""

    def __init__(self, threads: int | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads or 2 * (os.cpu_count() or 1), thread_name_prefix="engine")

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread. A waiter that is cancelled goes when the call has ended."""
        loop = asyncio.get_running_loop()
        return await to_its_end(loop.run_in_executor(self._pool, lambda: function(*args, **kwargs)))

    def close(self) -> None:
        """Wait for the calls under way."""
        self._pool.shutdown(wait=True)
